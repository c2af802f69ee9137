# The service, without torch: what `isthmus export` wrote, decided by ONNX Runtime.
#
#     isthmus export press/ new.csv -o exported/ --residual
#     docker build -t press .
#     docker run -e ISTHMUS_TOKEN=... -p 8000:8000 press
#
# `docker compose up` serves a demo instead, whose model is trained while the image is built.
FROM python:3.12-slim AS runtime
# ONNX Runtime reports its use to its publisher otherwise.
ENV ORT_DISABLE_TELEMETRY=1
COPY . /isthmus
# isthmus requires torch, scikit-learn, skops and safetensors; the service imports none of them, so
# that they are left out here, and what it does import is listed.
RUN pip install --no-cache-dir --no-deps /isthmus \
    && pip install --no-cache-dir -c /isthmus/constraints.txt \
       lazy_loader numpy scipy threadpoolctl pandas pyarrow fsspec pillow typer rich pooch \
       fastapi uvicorn onnxruntime prometheus-client \
    && rm -rf /isthmus
EXPOSE 8000
# Any other host than the loopback's needs ISTHMUS_TOKEN.
CMD ["isthmus", "serve", "/exported", "--host", "0.0.0.0"]

# A model to look at: digits, with a classifier and a detector. It needs the whole library, and is
# dropped when the demo's image is done.
FROM python:3.12-slim AS model
ENV ORT_DISABLE_TELEMETRY=1
COPY . /isthmus
RUN pip install --no-cache-dir -c /isthmus/constraints.txt '/isthmus[onnx]'
RUN isthmus fit digits -o /bundle --detector --normal 0 \
    && isthmus classify /bundle digits \
    && isthmus export /bundle digits -o /exported --residual

FROM runtime AS demo
COPY --from=model /exported /exported
USER nobody

FROM runtime
COPY exported /exported
USER nobody

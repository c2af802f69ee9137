# The service, without torch: what `isthmus export` wrote, decided by ONNX Runtime.
#
#     isthmus export press/ new.csv -o exported/ --residual
#     docker build -t press .
#     docker run -e ISTHMUS_TOKEN=... -p 8000:8000 press
FROM python:3.12-slim

COPY . /isthmus
# isthmus requires torch, scikit-learn, skops and safetensors; the service imports none of them, so
# that they are left out here, and what it does import is listed.
RUN pip install --no-cache-dir --no-deps /isthmus \
    && pip install --no-cache-dir -c /isthmus/constraints.txt \
       lazy_loader numpy pandas pyarrow fsspec pillow typer rich pooch \
       fastapi uvicorn onnxruntime prometheus-client \
    && rm -rf /isthmus

COPY exported /exported
USER nobody
EXPOSE 8000
# Any other host than the loopback's needs ISTHMUS_TOKEN.
CMD ["isthmus", "serve", "/exported", "--host", "0.0.0.0"]

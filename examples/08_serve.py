"""Request decisions over HTTP from a service without torch: a decision, and a refusal.

Runs in about ten seconds. Needs the extras `onnx` and `serve`. The service runs as a
separate process, by `isthmus serve`; requests are sent with the standard library.
"""

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from isthmus import Autoencoder, CodeClassifier, export_bundle, load, save_bundle

folder = Path(tempfile.mkdtemp())
digits = load("digits")
encoder = Autoencoder(recipe="fast", max_epochs=10, random_state=0).fit(digits.train.X)
save_bundle(
    folder / "press",
    encoder,
    {"digit": CodeClassifier(encoder).fit(digits.train.X, digits.train.y)},
)
export_bundle(folder / "press", folder / "exported", digits.test.X)

# %%
service = subprocess.Popen(
    [sys.executable, "-m", "isthmus", "serve", str(folder / "exported"), "--port", "0"],
    stdout=subprocess.PIPE,
    text=True,
)
address = service.stdout.readline().split()[2].rstrip(",")  # "serving at ADDRESS, ..."


def ask(instances):
    """Return what the service answers, be it a decision or why there is none."""
    body = json.dumps({"instances": instances}).encode()
    request = Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except HTTPError as refused:
        return json.load(refused)


# %%
try:
    instances = digits.test.X[:5].tolist()
    answer = ask(instances)
    print("over HTTP:", [one["class"] for one in answer["predictions"]])
    print("decided by", answer["digest"][:12])
    refusal = ask([[1, 2, 3]])
    print("got", refusal["got"], "| expected", refusal["expected"])
finally:
    service.terminate()  # what is in flight is answered first
    service.communicate()

here = CodeClassifier(encoder).fit(digits.train.X, digits.train.y).predict(digits.test.X[:5])
print("in Python:", here.tolist())

"""Export decisions: one ONNX graph from raw instance to verdict, its parity measured.

Runs in about ten seconds. Bundles for digits, a table of mixed columns and windows of
a series are fitted; each is exported as a graph that takes raw instances, and every output is
compared with the library's. The table's graph is then called as another program would, with numpy
and onnxruntime alone. Needs the extra `onnx`.
"""

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle, load, save_bundle

folder = Path(tempfile.mkdtemp())


def export(name, encoder, heads, rows):
    """Save a bundle, export it, and print what was measured."""
    save_bundle(folder / name, encoder, heads)
    facts = export_bundle(folder / name, folder / f"{name}-onnx", rows)
    parity = facts["parity"]
    # A p-value moves by a step when a score's last digit passes a calibration score.
    worst = max(
        found["relative"] for name, found in parity["worst"].items() if "p_value" not in name
    )
    differ = sum(found["differ"] for found in parity["decisions"].values())
    print(
        f"{name:<7} {', '.join(one['name'] for one in facts['outputs'])}\n"
        f"        {parity['n_rows']} rows: off by {worst:.0e} at most, "
        f"{differ} decisions differ"
    )


# %% Images: which digit, or none
digits = load("digits")
encoder = Autoencoder(max_epochs=10, random_state=0).fit(digits.train.X[:1000])
digit = CodeClassifier(encoder, rejection_rate=0.05, random_state=0)
digit.fit(digits.train.X[1000:], digits.train.y[1000:])
export("digits", encoder, {"digit": digit}, digits.test.X)

# %% A table with numbers, categories and dates, where values are missing: normal or not
rng = np.random.default_rng(0)
n = 600
orders = pd.DataFrame(
    {
        "weight": np.where(rng.random(n) < 0.05, np.nan, rng.gamma(2, 3, n)),
        "kind": rng.choice(["nut", "bolt", "rod"], n),
        "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 200, n), unit="D"),
    }
)
detector = AnomalyDetector(Autoencoder(max_epochs=20), false_alarm_rate=0.05, random_state=0).fit(
    orders
)
export("orders", detector.encoder_, {"normal": detector}, orders)

# %% Windows of a series: normal or not
steps = np.arange(64) / 64 * 2 * np.pi
windows = np.sin(steps + rng.uniform(0, 6, (400, 1))) + 0.1 * rng.normal(size=(400, 64))
windows = windows[..., None]  # one channel
machine = AnomalyDetector(
    Autoencoder(kind="series", max_epochs=10), false_alarm_rate=0.05, random_state=0
).fit(windows)
export("machine", machine.encoder_, {"normal": machine}, windows)

# %% Another program: predict.py does not import isthmus
new = orders[:3].assign(weight=[6.0, 500.0, None], kind=["nut", "nut", "cog"])
new.to_csv(folder / "new.csv", index=False)
script = folder / "orders-onnx" / "predict.py"
subprocess.run([sys.executable, script, folder / "new.csv", folder / "new.npz"], check=True)
with np.load(folder / "new.npz") as found:
    print("elsewhere:", found["verdict"].tolist(), "here:", detector.predict(new).tolist())

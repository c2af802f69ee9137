"""
Large files: chunks, interruption, resumption
=============================================

The readings of a fleet of compressors arrive as one Parquet file a week. Together they do not fit
into memory. This tutorial trains on them chunk by chunk, writes a decision for each row into a
folder of files, is killed, and continues where it stopped. Nothing here needs a cluster; the last
section says what changes on one.

The files are small here, so that the page runs in seconds. The same code has fitted and scored 16
million rows in 1.3 GB of memory: see :doc:`scale </scale>`.
"""

# %%
# A folder of files
# -----------------
#
# Eight weeks, generated. Pressure and power follow the load; in one reading of a thousand a leaking
# valve lets the power rise without pressure.

import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from isthmus import AnomalyDetector, Autoencoder, load, save_bundle
from isthmus.plots import plot_scores

folder = Path(mkdtemp())
weeks = folder / "weeks"
weeks.mkdir()
rng = np.random.default_rng(0)
for week in range(8):
    n = 5000
    load_share, leak = rng.beta(4, 2, n), rng.random(n) < 0.001
    pd.DataFrame({
        "reading": week * n + np.arange(n),
        "machine": rng.choice(["north", "south", "east"], n),
        "pressure": 4 + 3 * load_share - 2 * leak + rng.normal(0, 0.1, n),
        "power": 20 + 60 * load_share + 15 * leak + rng.normal(0, 2, n),
        "temperature": 40 + 25 * load_share + rng.normal(0, 1.5, n),
        "leak": leak,
    }).to_parquet(weeks / f"week-{week}.parquet")  # fmt: skip

sorted(path.name for path in weeks.iterdir())

# %%
# Open, without reading
# ---------------------
#
# A folder of Parquet files is a *stream*: one chunk at a time is in memory. ``keys`` are columns
# that identify a row, and ``drop`` are columns to leave out: here ``leak``, the truth, which is not
# known in advance.

readings = load(weeks, keys=["reading"], drop=["leak"])
print(len(readings), "rows; columns", *readings.schema.columns)

# %%
# Learn
# -----
#
# ``fit`` takes the stream as it takes a table. It reads it once for scales and categories, once for
# the validation set, then once an epoch, in an order that is shuffled across files. Scales and
# categories are those of the same rows in memory.

detector = AnomalyDetector(
    Autoencoder(max_epochs=2, random_state=0), false_alarm_rate=0.002, random_state=0
).fit(readings)
save_bundle(folder / "compressors", detector.encoder_, {"normal": detector})

# %%
# Decide on everything, and stop half way
# ---------------------------------------
#
# ``isthmus predict`` writes the decisions into a folder: a file for each chunk, whole or not at
# all, and a manifest of what is done. In Python it is ``isthmus.scoring.score``. To see what an
# interruption does, the process is killed, without a chance to clean up, as soon as three files are
# there.

decided = folder / "decided.parquet"
command = [sys.executable, "-m", "isthmus", "predict", folder / "compressors", weeks, "-o", decided]
command += ["--key", "reading", "--drop", "leak"]
process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while process.poll() is None and len(list(decided.glob("part-*.parquet"))) < 3:
    time.sleep(0.01)
process.kill()
process.wait()
print(len(list(decided.glob("part-*.parquet"))), "files are written, and stay")

# %%
# The same command with ``--resume`` reads the manifest, skips what is done, and goes on. Training
# is continued in the same way: ``isthmus fit --resume``, or ``checkpoint_dir=`` and
# ``resume=True``.

again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
print(again.stdout.replace(str(folder), "")[:800])

# %%
# One table comes back, in the order of the rows, each of them once:

table = pd.read_parquet(decided)
assert table["reading"].tolist() == list(range(len(readings)))
table.head(3)

# %%
# How good is it?
# ---------------
#
# The files say which readings have a leak, so the decisions can be compared with the truth. These
# are the rows that the detector was fitted on, as when old data are cleaned. To measure a rate on
# new rows, leave some weeks out of the fit.

truth = pd.read_parquet(weeks, columns=["reading", "leak"])
pd.crosstab(truth["leak"], table["prediction"])

# %%
# The scores of readings with a leak (abnormal) and of all others, on a scale on which few are seen:

scores, leak = table["anomaly_score"], truth["leak"]
edges = np.linspace(0, scores.max(), 60)
counts = {
    "normal": np.histogram(scores[~leak], edges)[0],
    "abnormal": np.histogram(scores[leak], edges)[0],
}
plot_scores({"edges": edges, "counts": counts}, -detector.offset_)

# %%
# More than one core, more than one machine
# -----------------------------------------
#
# * Several processes train together, each on a part of every batch, to the same weights up to
#   rounding: ``torchrun --nproc-per-node 4 -m isthmus fit weeks/ --key reading --drop leak -o
#   compressors/``
# * On a Ray cluster ``engine="ray"`` divides the chunks among its workers, with the same result row
#   by row; ``isthmus fit --engine ray`` trains. Both need the extra ``scale``.
# * Files may lie at an address such as ``s3://bucket/weeks``, with the client for it installed.
# * Heads can be fitted on stored codes, ``isthmus encode``, without reading the instances again.
#
# The commands for this page:
#
# .. code-block:: text
#
#    isthmus fit weeks/ --key reading --drop leak --detector -o compressors/
#    isthmus predict compressors/ weeks/ --key reading --drop leak -o decided.parquet --resume
#
# :doc:`Scale </scale>` has the details: memory, damaged files, several processes, Ray, and what was
# measured.

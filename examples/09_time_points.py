"""Find abnormal time points of a sensor series, tell the alarms and draw them.

Runs in about ten seconds. Expect about seven alarms, which find nearly all of the eight faults.
"""

# %%
import tempfile
from pathlib import Path

from isthmus import AnomalyDetector, Autoencoder, load
from isthmus.data import pump_table
from isthmus.plots import plot_alarms

# A table with a row a minute: the column datetime, four sensors, and for the later part whether
# the pump was faulty.
folder = Path(tempfile.mkdtemp())
pump_table("train").drop(columns="anomaly").to_csv(folder / "pump.csv", index=False)
pump_table("test").to_csv(folder / "new.csv", index=False)

# %%
pump = load(folder / "pump.csv", kind="series", time="datetime")
detector = AnomalyDetector(
    Autoencoder(random_state=0), false_alarms="1 per day", random_state=0
).fit(pump)
facts = detector.point_facts_
print(f"windows of {facts['window']} minutes, threshold {facts['threshold']:.2f}")

# %%
new = load(folder / "new.csv", kind="series", time="datetime", label="anomaly")
points = detector.score_points(new)
alarms = detector.alarms(new)
print(points[["datetime", "anomaly_score", "p_value", "verdict"]].head(3))
print(alarms[["first", "last", "known_at", "channel"]])
assert len(points) == len(new.points)

# %%
figure = plot_alarms(new, alarms, points, normal=0)
figure.savefig(folder / "alarms.png")

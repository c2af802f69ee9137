"""Detect abnormal windows of sensor readings in one long table.

Runs in about ten seconds. Three machines vibrate at different frequencies; one of them
starts to knock towards the end. Expect the knocking windows to have the smallest p-values.
"""

# %% A long table: one row a reading
import numpy as np
import pandas as pd

from isthmus import AnomalyDetector, Autoencoder, load

rng = np.random.default_rng(0)
parts = []
for machine, hertz in {"north": 1.0, "south": 1.3, "west": 0.8}.items():
    seconds = np.arange(0, 480, 0.1)
    hum = np.sin(2 * np.pi * hertz * seconds)
    knock = np.where((machine == "west") & (seconds > 400), rng.normal(0, 0.8, len(seconds)), 0)
    parts.append(
        pd.DataFrame(
            {
                "time": seconds,
                "machine": machine,
                "vibration": hum + knock + rng.normal(0, 0.1, len(seconds)),
                "temperature": 40 + 3 * np.sin(seconds / 8) + rng.normal(0, 0.2, len(seconds)),
            }
        )
    )
readings = pd.concat(parts)

# %% Windows of 3.2 seconds, each of one machine
read = {"kind": "series", "time": "time", "group": "machine", "window": 32, "stride": 32}
early = load(readings[readings.time < 300], **read)
late = load(readings[readings.time >= 300], **read)
print(early, "and", late)

# %% Fit and calibrate on the early windows, decide on the late ones
detector = AnomalyDetector(
    Autoencoder(kind="series", max_epochs=30, random_state=0), false_alarm_rate=0.02, random_state=0
).fit(early.X)
p_values = detector.p_values(late.X)
table = late.windows.to_frame().assign(p_value=p_values, flag=detector.predict(late.X) == -1)
knocking = (table["group"] == "west") & (table["first_time"] > 400)
print(f"knocking windows found: {table.flag[knocking].mean():.2f}")
print(f"other windows flagged:  {table.flag[~knocking].mean():.2f} (asked 0.02)")
print(table.sort_values("p_value").head(5).to_string(index=False))

# %% Explanation: the channel and step with the largest residual
worst = np.argmin(p_values)
print(detector.explain(late.X[[worst]]).top(2)[0])

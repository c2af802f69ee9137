"""
A sensor series: alarms at a stated rate
========================================

A pump fills a tank every hour. Four sensors report once a minute, and nobody has ever marked a
fault. A detector is fitted on a few days of normal work. It then decides on a new day and a half,
and answers three questions of an operator: when was the pump abnormal, which sensor shows it, and
how many false alarms are there?

The pump is simulated, so that every reader gets the same readings without a download, and so that
the true faults are known. Your own readings go the same way: a CSV or Parquet file with a column of
times.
"""

# %%
# The readings
# ------------
#
# ``pump_table`` returns a table with one row a minute. The first part, almost three days, is normal
# work.

from isthmus import AnomalyDetector, Autoencoder, load
from isthmus.data import pump_events, pump_table
from isthmus.plots import plot_alarms

normal = pump_table("train").drop(columns="anomaly")
normal.head()

# %%
# ``load`` reads a table, a file or an address alike. With ``kind="series"`` it checks that times
# increase, and chooses the length of windows from the period of the readings: here 64 minutes, a
# little more than the hour of the pump.

pump = load(normal, kind="series", time="datetime")
pump

# %%
# Learn, and state how many false alarms are accepted
# ---------------------------------------------------
#
# Two steps in one call, neither of which needs a label. An autoencoder learns to reconstruct
# windows of normal work, and the score of a window follows from its residual and its statistics.
# Then blocks of time on which nothing was trained set the threshold, for one accepted false alarm a
# day.

detector = AnomalyDetector(
    Autoencoder(random_state=0), false_alarms="1 per day", random_state=0
).fit(pump)

facts = detector.point_facts_
print(f"windows of {facts['window']} minutes, threshold {facts['threshold']:.2f}")
print(f"false alarms on held-out normal time: {facts['n_alarms_held_out']}")

# %%
# The three days of normal work gave one false alarm where three would have been accepted: with so
# little data the threshold is on the safe side. With months of data it is closer to the rate asked.
#
# Read new data
# -------------
#
# The new part is labelled, because this is a simulation. The detector does not use the labels: they
# are only drawn in the picture and counted at the end. ``score_points`` returns a row for each
# minute, with an anomaly score, the verdict, and the share that each sensor has in the score.

new = load(pump_table("test"), kind="series", time="datetime", label="anomaly")
points = detector.score_points(new)
points.loc[150:152, ["datetime", "anomaly_score", "verdict", "share_vibration"]]

# %%
# ``alarms`` joins abnormal minutes into alarms, and names the sensor that deviates most.
# ``known_at`` is the earliest time at which the alarm could have been raised: the detector reads
# whole windows before it decides.

alarms = detector.alarms(new)
alarms[["first", "last", "known_at", "channel"]]

# %%
# One call draws it all: the sensors, the alarms, the worst sensor of each, and the score with its
# threshold.

figure = plot_alarms(new, alarms, points, normal=0)

# %%
# What was found, and what was not
# --------------------------------
#
# The simulation has eight faults. Each is compared with the alarms:

faults = pump_events()
on_it = [
    alarms[(alarms["first"] <= fault.last) & (alarms["last"] >= fault.first)]
    for fault in faults.itertuples()
]
faults["found"] = [len(found) > 0 for found in on_it]
faults["named"] = [", ".join(sorted(set(found["channel"]))) for found in on_it]
faults[["first", "kind", "channel", "found", "named"]]

# %%
# Read it with care:
#
# * All eight faults lie in an alarm, and there is no alarm without a fault. It is one simulated
#   pump with clear faults, and proves nothing about yours. On public recordings of real machines
#   the figures are lower: see :doc:`detection </detection>`.
# * Alarms are wider than faults, because every window that covers a part of a fault is abnormal: a
#   spike of five minutes makes an alarm of two hours. The column ``peak`` of ``alarms`` says where
#   the score was highest.
# * The last alarm covers two faults that are less than a window apart, and names only the sensor of
#   the larger one.
# * A changed period shows in all sensors, so the one that is named says little there.
#
# Explain one alarm
# -----------------
#
# The shares of the score by sensor, at the peak of the stuck flow sensor:

peak = alarms.loc[2, "peak"]
shares = points.loc[points["datetime"] == peak].filter(like="share_").iloc[0]
shares.rename(lambda name: name.removeprefix("share_")).round(2).to_frame("share of the score")

# %%
# Keep it
# -------
#
# ``save_bundle`` writes encoder and detector into a folder without pickle. ``isthmus serve``
# answers over HTTP from its export, and these commands do all of the above without Python:
#
# .. code-block:: text
#
#    isthmus fit pump.csv --kind series --time datetime --detector \
#        --false-alarms "1 per day" -o press/
#    isthmus predict press/ new.csv --time datetime -o points.csv --alarms alarms.csv
#
# Where to read on: :doc:`time points and alarms </detection>`, :doc:`what is read as a series
# </data>`, :doc:`is the promise still valid? </monitoring>`

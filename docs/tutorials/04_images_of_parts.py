"""
Images of parts: defects without examples
=========================================

A camera looks at metal washers on a belt. There are hundreds of pictures of good parts and hardly
any of bad ones, and the next defect may be of a new kind. A detector learns from good parts only.
It says which new parts are abnormal and where, at a stated rate of false alarms. Then twelve
pictures of each kind train a classifier of defects.
"""

# %%
# The pictures
# ------------
#
# Drawn here with Pillow: washers in a fixture below a camera, 32 x 32 pixels in grey. Place, size
# and brightness vary a little from part to part. A defect is a scratch (a thin bright line), a dent
# (a dark spot) or a hole that is not in the middle.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, evaluate, plots

SIDE, SCALE = 32, 4  # drawn four times as large and reduced, which makes soft edges


def draw_part(rng, defect="good", spread=1.0):
    """Return one picture of a washer, an array of 32 x 32 numbers from 0 to 255."""
    size, middle = SIDE * SCALE, SIDE * SCALE / 2
    x, y = middle + rng.normal(0, 0.7 * spread, 2)
    radius, hole, grey = rng.normal([50, 18, 150], np.multiply([0.6, 0.5, 5], spread))
    image = Image.new("L", (size, size), 40)
    draw = ImageDraw.Draw(image)

    def circle(x, y, radius, fill):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=int(fill))

    circle(x, y, radius, grey)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(26, 40)
    at = np.array([x + distance * np.cos(angle), y + distance * np.sin(angle)])
    if defect == "scratch":
        along = 18 * np.array([np.cos(angle + 1.3), np.sin(angle + 1.3)])
        draw.line([*(at - along), *(at + along)], fill=250, width=6)
    elif defect == "dent":
        circle(*at, rng.uniform(5, 8), grey - 80)
    shift = 9 if defect == "hole" else 0
    circle(x + shift * np.cos(angle), y + shift * np.sin(angle), hole, 40)
    image = image.filter(ImageFilter.GaussianBlur(2)).resize((SIDE, SIDE), Image.Resampling.BOX)
    noisy = np.asarray(image) + rng.normal(0, 3, (SIDE, SIDE))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def draw_parts(rng, spread=1.0):
    """Return pictures of 600 good parts, of 480 new ones, and which these are."""
    kind = np.repeat(["good", "scratch", "dent", "hole"], [300, 60, 60, 60])
    good = np.stack([draw_part(rng, spread=spread) for _ in range(600)])
    return good, np.stack([draw_part(rng, defect, spread) for defect in kind]), kind


good, new, kind = draw_parts(np.random.default_rng(0))
shown = [*range(4), *range(300, 303), *range(360, 363), *range(420, 422)]
plots.plot_samples(new[shown], kind[shown], n=12)

# %%
# Pictures in a folder are read by ``load("pictures/")``: a folder a class, or all in one. Here they
# are an array.
#
# Learn from good parts
# ---------------------
#
# Six hundred pictures of good parts, no labels, and the rate of false alarms that is accepted: one
# good part in fifty. Parts on which no network was trained set the threshold.

detector = AnomalyDetector(
    Autoencoder(max_epochs=40, random_state=0), false_alarm_rate=0.02, random_state=0
).fit(good)


def flagged_by_kind(detector, new):
    """Return how many new parts of each kind the detector flags."""
    flagged = pd.Series(detector.predict(new) == -1)
    return flagged.groupby(kind, sort=False).agg(parts="size", flagged="sum")


flagged_by_kind(detector, new)

# %%
# Good parts are flagged about as often as was accepted, and nearly all defects are found. None of
# them was used in the fit: a part is flagged because its code or its residual is unlike those of
# good parts. Training is cut to 40 epochs here, so that the page runs in seconds.
#
# Where on the part?
# ------------------
#
# Above are new parts, below their reconstructions by the detector's encoder and decoder: these look
# like a washer without the defect.

faulty = new[[300, 301, 302, 360, 361, 362, 420, 421]]
rebuilt = detector.encoder_.inverse_transform(detector.encoder_.transform(faulty))
plots.plot_reconstructions(faulty, rebuilt, n=8)

# %%
# ``explain`` gives the same as numbers: a map of the squared residual for each picture. Drawn over
# the parts, the brightest places are those to look at.

maps = detector.explain(faulty).residuals
figure, axes = plt.subplots(2, 8, figsize=(10, 2.8))
for above, below, part, residual in zip(*axes, faulty, maps, strict=True):
    above.imshow(part, cmap="gray")
    below.imshow(residual.reshape(SIDE, SIDE), cmap="magma")
    above.axis("off")
    below.axis("off")

# %%
# A few labels: which defect?
# ---------------------------
#
# Somebody has sorted a handful of pictures, twelve of each kind. Now an encoder is trained on all
# pictures, good and bad, without looking at labels, and a head on its frozen codes learns the kinds
# from the forty-eight. The other new parts are the test. The same head on the pixels, on principal
# components and on an untrained network stands beside it.

few = np.concatenate([np.flatnonzero(kind == one)[:12] for one in np.unique(kind)])
rest = np.setdiff1d(np.arange(len(new)), few)
encoder = Autoencoder(max_epochs=6, random_state=0).fit(np.concatenate([good, new]))
classifier = CodeClassifier(encoder).fit(new[few], kind[few])
evaluate(classifier, new[rest], kind[rest], X_train=new[few], y_train=kind[few])

# %%
# From so few labels the head is far better on the codes than on the baselines. Yet it is wrong
# about a part in six: about half of the dents and scratches are classified as good. So use both:
# the detector decides which part is inspected, and the head says of what kind the defect may be.
# The full training (leave out ``max_epochs``) and more labels improve the head.

predicted = classifier.predict(new[rest])
pd.crosstab(kind[rest], predicted, rownames=["true"], colnames=["predicted"])

# %%
# Where this ends
# ---------------
#
# The good parts above are very much alike, because they lie in a fixture. Let them lie three times
# as loosely, and differ three times as much in size and brightness:

loose, new_loose, _ = draw_parts(np.random.default_rng(1), spread=3.0)
loose_detector = AnomalyDetector(
    Autoencoder(max_epochs=40, random_state=0), false_alarm_rate=0.02, random_state=0
).fit(loose)
flagged_by_kind(loose_detector, new_loose)

# %%
# The rate of false alarms still holds, but most scratches and dents are missed, because good parts
# differ as much. What helps, in this order: align and crop the pictures before they are learned
# from; more good parts; and, for photographs of natural scenes or fine textures, a network that was
# trained on millions of photographs, as anomalib uses them: see :doc:`the comparison
# </comparison>`. Such a network can take the encoder's place here too, by :doc:`FrozenEncoder
# </encoders>`.
#
# On the command line, with the pictures in folders:
#
# .. code-block:: text
#
#    isthmus fit good/ --detector --false-alarm-rate 0.02 -o parts/
#    isthmus predict parts/ new/ -o decided.csv
#
# Where to read on: :doc:`anomaly detection </detection>`, :doc:`what is read as images </data>`,
# :doc:`the report on a model </report>`.

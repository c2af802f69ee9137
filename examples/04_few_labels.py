"""Improve a detector with a few labels, some of which it asks for.

Runs in about ten seconds. All digits but the eights are normal, and the training digits are
unlabelled: a tenth of them are eights, which the detector takes for normal. Without labels it finds
about a quarter of the eights, with five labelled about two in five, and about half with twenty
labels that it asks for. AUROC rises from about 0.74 to 0.83 and 0.86.
"""

# %%
import numpy as np
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector, Autoencoder, load

digits = load("digits")
unsorted, pool = digits.train.X[:900], digits.train.X[900:]
is_eight = digits.train.y[900:] == 8  # a person's answer when asked
truth = digits.test.y == 8

# %% No labels
encoder = Autoencoder(max_epochs=30, random_state=0)
detector = AnomalyDetector(encoder, false_alarm_rate=0.05, calibration="split", random_state=0).fit(
    unsorted
)


def report(words: str) -> None:
    """Print AUROC and what is found at the threshold, on the test digits."""
    auroc = roc_auc_score(truth, -detector.score_samples(digits.test.X))
    flagged = detector.predict(digits.test.X) == -1
    print(
        f"{words:<18}AUROC {auroc:.3f}, found {flagged[truth].mean():.3f}, "
        f"false alarms {flagged[~truth].mean():.3f} (asked {detector.false_alarm_rate_:.3g})"
    )


report("no labels")

# %% Five instances labelled abnormal; no encoder is trained again
first = np.flatnonzero(is_eight)[:5]
detector.add_labels(pool[first], np.full(5, -1))
report("5 labels")

# %% Labels for instances that the detector suggests: uncertain, and unlike each other
asked = detector.suggest(pool, n=20)
detector.add_labels(pool[asked], np.where(is_eight[asked], -1, 1))
report("20 it asked for")
print(f"{is_eight[asked].sum()} of the 20 were eights, of {len(pool)} every tenth is")
print(f"the head is ahead of the label-free score from {detector.wins_from_} labels on")

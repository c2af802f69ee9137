"""Learn from benign tumours, and detect malignant ones at a stated false-alarm rate.

Runs in about ten seconds. The detector is fitted on half of the benign rows, without labels; expect
an AUROC of about 0.95 on the rest, and at most about one false alarm in twenty. (AUROC is the share
of pairs of a malignant and a benign row in which the malignant one has the higher score.)
"""

# %%
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector, Autoencoder

table, benign = load_breast_cancer(as_frame=True, return_X_y=True)
normal = table[benign == 1].sample(frac=1, random_state=0)
learn, new_normal = normal[:180], normal[180:]
abnormal = table[benign == 0]

# %% One call trains the encoder, calibrates on rows that did not train it, sets the threshold
detector = AnomalyDetector(
    Autoencoder(max_epochs=150, random_state=0), false_alarm_rate=0.05, random_state=0
).fit(learn)
print(f"{detector.calibration_} calibration on {detector.n_calibration_} rows")

# %% The realised false-alarm rate on new rows
false_alarms = (detector.predict(new_normal) == -1).mean()
found = (detector.predict(abnormal) == -1).mean()
scores = -np.concatenate([detector.score_samples(new_normal), detector.score_samples(abnormal)])
auroc = roc_auc_score(np.arange(len(scores)) >= len(new_normal), scores)
print(f"asked 0.05, false alarms {false_alarms:.3f}, found {found:.3f}, AUROC {auroc:.3f}")

# %% Another rate, without training
detector.set_false_alarm_rate(0.01)
print(f"at 0.01: found {(detector.predict(abnormal) == -1).mean():.3f}")

# %% Selection from a mixed batch at a false-discovery rate of a tenth
mixed = pd.concat([new_normal[:100], abnormal[:50]])
chosen = detector.select(mixed, fdr=0.1)
print(f"selected {chosen.sum()} of 50 abnormal among 150, {chosen[:100].sum()} of them normal")

# %% Explanations
print(detector.explain(abnormal[:3]).frame().round(2).to_string())

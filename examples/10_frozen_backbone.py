"""Classify, and find what is unusual, on the codes of encoders that were trained elsewhere.

Runs in about 10 seconds on one core. A small network stands for a backbone of torchvision or timm:
it is trained here on the digits 0 to 4 with labels, loses its last layer, and is frozen. Its codes
then separate digits 5 to 9, which it has never seen, from 100 labels.
"""

# %%
import tempfile

import torch
from sklearn.decomposition import PCA
from torch import nn

from isthmus import (
    AnomalyDetector,
    CodeClassifier,
    FrozenEncoder,
    evaluate,
    load,
    load_bundle,
    save_bundle,
)

digits = load("digits")
train, test = digits.train, digits.test

# %% A network that somebody else trained
torch.manual_seed(0)
backbone = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 32, 3), nn.ReLU()
)
network = nn.Sequential(backbone, nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 4, 5))
seen = train.y < 5
images, labels = torch.from_numpy(train.X[seen])[:, None], torch.from_numpy(train.y[seen])
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
for _ in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(images), labels).backward()
    optimizer.step()

# %% Its codes, frozen, for classes that it has never seen; beside the same baselines as ever
few = (train.y >= 5).nonzero()[0][:100]
classifier = CodeClassifier(FrozenEncoder(backbone)).fit(train.X[few], train.y[few])
unseen = test.y >= 5
found = evaluate(
    classifier,
    test.X[unseen],
    test.y[unseen],
    X_train=train.X[few],
    y_train=train.y[few],
    random_state=0,
)
for name, result in {"backbone": found["code"], **found["baselines"]}.items():
    print(f"{name:<10}{result['accuracy']:.3f}")

# %% A detector on the codes of a fitted transformer
zeros = train.X[train.y == 0]
pca = PCA(16, random_state=0).fit(train.X[train.y == 1].reshape(-1, 64))  # on other rows
detector = AnomalyDetector(FrozenEncoder(pca), false_alarm_rate=0.05, random_state=0).fit(zeros)
print("found:", (detector.predict(test.X[test.y != 0]) == -1).mean().round(3))
print("false alarms:", (detector.predict(test.X[test.y == 0]) == -1).mean().round(3))

# %% Save it and load it: the module's layers are code, which is given again
with tempfile.TemporaryDirectory() as folder:
    save_bundle(f"{folder}/digits", classifier.encoder_, {"digit": classifier})
    same = load_bundle(f"{folder}/digits", encoder=FrozenEncoder(backbone)).head("digit")
print("same:", bool((same.predict(test.X) == classifier.predict(test.X)).all()))

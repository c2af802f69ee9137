"""Compare three training objectives by error, accuracy with few labels, and sparsity.

Runs in about ten seconds. The same small network is trained on digits, without
labels, to reconstruct; to give displaced digits nearly the same code; and to have a sparse code,
by an objective defined here. Expect the second to have the best accuracy from 50 labels, and the
first the lower reconstruction error of the two.
"""

# %%
from isthmus import Autoencoder, CodeClassifier, load
from isthmus.objectives import Invariant

digits = load("digits")


def sparsity(network, batch):
    """Mean distance of the code's values from zero."""
    (x,) = batch
    return network.encoder(x).abs().mean()


objectives = {
    "reconstruction": "reconstruction",
    "invariant": Invariant(
        reconstruction=1.0, invariance=1.0, variance=1.0, covariance=0.04, expander=(64, 64)
    ),
    "sparse": {"reconstruction": 1.0, sparsity: 0.05},  # minimised together, by weight
}

# %% Each with 50 labels for a linear head
for name, objective in objectives.items():
    encoder = Autoencoder(
        n_components=16,
        architecture="dense",
        objective=objective,
        max_epochs=15,
        batch_size=64,
        lr=3e-3,
        random_state=0,
    ).fit(digits.train.X)
    head = CodeClassifier(encoder, "linear").fit(digits.train.X[:50], digits.train.y[:50])
    error = encoder.reconstruction_error(digits.test.X).mean()
    accuracy = head.score(digits.test.X, digits.test.y)
    activity = abs(encoder.transform(digits.test.X)).mean()
    print(f"{name:<15}error {error:.3f}, accuracy {accuracy:.3f}, mean |code| {activity:.2f}")

# %% The losses of each objective are in the history by name
last = encoder.history_[-1]
print(f"parts: {last['train_reconstruction']:.3f} + 0.05 x {last['train_sparsity']:.3f}")

"""
The Keras tutorial, step by step
================================

Many people meet autoencoders in the same place: a Keras tutorial that trains a small convolutional
network on MNIST, throws the decoder away, and classifies digits from the codes. This page walks
through the same ten steps with isthmus, each of them one call. It ends with a step that the
tutorial does not have: *is this instance normal or not?*

Above each cell are the lines of Keras for the same step, which the site does not run. The digits
here are those that scikit-learn ships, 1,797 images, enlarged from 8 x 8 to 28 x 28 pixels so that
the tutorial's network fits them. They need no download, and the page runs in seconds. For the real
thing write ``load("mnist")`` in the first cell and leave out ``max_epochs=20`` in the fourth; the
figures for that are at the end.
"""

# %%
# 1. Load the data
# ----------------
#
# .. code-block:: python
#
#    import numpy as np
#    from keras.datasets import mnist
#    (x_train, y_train), (x_test, y_test) = mnist.load_data()
#    x_train = x_train.astype("float32")[..., None] / 255
#    x_test = x_test.astype("float32")[..., None] / 255
#    print("training data:", x_train.shape)
#    print("test data:", x_test.shape)
#
# ``load`` takes a name, a file, a folder, an array or a DataFrame. Images come scaled to 0 to 1,
# with their labels, in a training and a test set.

from tempfile import mkdtemp

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, evaluate, load, plots, save_bundle

digits = load("digits", resize=(28, 28))
digits

# %%
# 2. Is every class there?
# ------------------------
#
# .. code-block:: python
#
#    import matplotlib.pyplot as plt
#    training = [np.mean(y_train == digit) for digit in range(10)]
#    testing = [np.mean(y_test == digit) for digit in range(10)]
#    plt.bar(np.arange(10) - 0.2, training, width=0.4, label="Training")
#    plt.bar(np.arange(10) + 0.2, testing, width=0.4, label="Testing")
#    plt.xticks(range(10))
#    plt.xlabel("Label")
#    plt.ylabel("Share")
#    plt.legend()
#    plt.grid(True)
#    plt.show()

plots.plot_label_shares(digits.train.y, digits.test.y)

# %%
# 3. Look at some
# ---------------
#
# .. code-block:: python
#
#    def show_images(images, below=None, n=10):
#        plt.figure(figsize=(20, 4))
#        for i in range(n):
#            for row, part in enumerate([images, below]):
#                if part is not None:
#                    axes = plt.subplot(2, n, i + 1 + row * n)
#                    plt.imshow(part[i].reshape(28, 28), cmap="gray")
#                    axes.get_xaxis().set_visible(False)
#                    axes.get_yaxis().set_visible(False)
#        plt.show()
#
#    show_images(x_train, x_test)
#    print("training labels:", y_train[:10])
#    print("test labels:", y_test[:10])

plots.plot_samples(digits.train.X, digits.train.y)

# %%
# 4. and 5. Encoder and decoder
# -----------------------------
#
# .. code-block:: python
#
#    from keras import Model
#    from keras.layers import Conv2D, Input, MaxPooling2D, UpSampling2D
#    image = Input(shape=(28, 28, 1))
#    x = Conv2D(16, 3, activation="relu", padding="same")(image)
#    x = MaxPooling2D(2, padding="same")(x)
#    x = Conv2D(8, 3, activation="relu", padding="same")(x)
#    x = MaxPooling2D(2, padding="same")(x)
#    x = Conv2D(8, 3, activation="relu", padding="same")(x)
#    code = MaxPooling2D(2, padding="same")(x)
#    x = Conv2D(8, 3, activation="relu", padding="same")(code)
#    x = Conv2D(8, 3, activation="relu", padding="same")(x)
#    x = UpSampling2D(2)(x)
#    x = Conv2D(8, 3, activation="relu", padding="same")(x)
#    x = UpSampling2D(2)(x)
#    x = Conv2D(16, 3, activation="relu")(x)
#    x = UpSampling2D(2)(x)
#    rebuilt = Conv2D(1, 3, activation="sigmoid", padding="same")(x)
#    autoencoder = Model(image, rebuilt)
#    autoencoder.summary()
#
# The encoder turns the 784 pixels of an image into 128 numbers, its *code*; the decoder turns these
# back into an image. ``recipe="reference"`` is this very network, with the optimiser of the
# tutorial (Adadelta), its loss (binary cross-entropy for each pixel) and its batches of 128.
# Without it, isthmus chooses a network of its own.

encoder = Autoencoder(recipe="reference", max_epochs=20, random_state=0)

# %%
# 6. Train, without labels
# ------------------------
#
# .. code-block:: python
#
#    from keras.callbacks import TensorBoard
#    from keras.optimizers import Adadelta
#    autoencoder.compile(optimizer=Adadelta(1.0), loss="binary_crossentropy")
#    history = autoencoder.fit(
#        x_train,
#        x_train,
#        epochs=50,
#        batch_size=128,
#        shuffle=True,
#        validation_data=(x_test, x_test),
#        callbacks=[TensorBoard(log_dir="runs")],
#    )
#    plt.plot(history.history["loss"], label="training")
#    plt.plot(history.history["val_loss"], label="validation")
#    plt.legend()
#    plt.show()
#
# Only the images are given. ``log_dir="runs"`` would write the same curves for TensorBoard.

encoder.fit(digits.train.X)
plots.plot_history(encoder, loss_name="cross-entropy per pixel")

# %%
# The layers and their 4,969 parameters:

print(encoder.summary())

# %%
# 7. Originals and reconstructions
# --------------------------------
#
# .. code-block:: python
#
#    show_images(x_test, autoencoder.predict(x_test))
#
# Twenty epochs of 1,437 images are 240 steps of training. The tutorial's 50 epochs of MNIST are
# 23,450, so these reconstructions are still blurred.

codes = encoder.transform(digits.test.X)
plots.plot_reconstructions(digits.test.X, encoder.inverse_transform(codes))

# %%
# 8. Drop the decoder, freeze the encoder
# ---------------------------------------
#
# .. code-block:: python
#
#    encoder = Model(image, code)
#    encoder.trainable = False
#    codes_train = encoder.predict(x_train).reshape(len(x_train), -1)
#    codes_test = encoder.predict(x_test).reshape(len(x_test), -1)
#
# Nothing to do: ``transform`` uses only the encoder, which no later step changes. A digest over
# every weight is compared before and after, and a difference is an error.

print(codes.shape, encoder.digest_[:12])

# %%
# 9. Classify the codes
# ---------------------
#
# .. code-block:: python
#
#    from keras import Sequential
#    from keras.layers import Dense
#    from keras.utils import to_categorical
#    classifier = Sequential([Input(shape=(128,)), Dense(10, activation="softmax")])
#    classifier.compile(
#        loss="categorical_crossentropy", optimizer=Adadelta(1.0), metrics=["accuracy"]
#    )
#
# A *head* is the model on top of the frozen codes. The default is linear, like the single layer
# above.

classifier = CodeClassifier(encoder).fit(digits.train.X, digits.train.y)

# %%
# 10. Keep architecture and weights
# ---------------------------------
#
# .. code-block:: python
#
#    from keras.callbacks import ModelCheckpoint
#    with open("model.json", "w") as file:
#        file.write(classifier.to_json())
#    best = ModelCheckpoint(
#        "weights-{epoch:02d}-{val_accuracy:.2f}.keras",
#        monitor="val_accuracy",
#        save_best_only=True,
#        mode="max",
#    )
#    classifier.fit(
#        codes_train,
#        to_categorical(y_train, 10),
#        batch_size=128,
#        epochs=100,
#        validation_data=(codes_test, to_categorical(y_test, 10)),
#        callbacks=[best],
#    )
#
# A *bundle* is a folder with encoder, decoder and heads: the architecture as JSON, the weights as
# safetensors, no pickle. A linear head is solved rather than trained in epochs, so it has no best
# epoch to keep; the head ``"mlp"``, a small network, keeps the best one by labels that are held
# out. Keras's listing chooses it by the test set.

save_bundle(f"{mkdtemp()}/digits", encoder, {"digit": classifier})

# %%
# 11. How good is it?
# -------------------
#
# .. code-block:: python
#
#    loss, accuracy = classifier.evaluate(codes_test, to_categorical(y_test, 10))
#    print("test loss:", loss)
#    print("test accuracy:", accuracy)
#    predicted = classifier.predict(codes_test[:10]).argmax(axis=1)
#    show_images(x_test)
#    print("predicted classes:", predicted)
#
# ``evaluate`` also fits the same head on the raw pixels, on as many principal components as the
# code has numbers, and on the codes of the untrained network. Without these three a figure such as
# 97 % says little: it may be the digits that are easy.

evaluate(classifier, digits.test.X, digits.test.y, X_train=digits.train.X, y_train=digits.train.y)

# %%
# The codes are ahead of the raw pixels and of an untrained network, but only by a few of 360
# images: the intervals overlap, so this alone proves little. With 1,437 labels for digits this
# clear nearly everything works. Codes are worth their training when labels are few or the encoder
# is better: see the end of this page.
#
# The first test images with what was predicted:

plots.plot_predictions(digits.test.X, classifier.predict(digits.test.X), digits.test.y)

# %%
# 12. Normal or not
# -----------------
#
# A detector needs no examples of what is abnormal: it learns from zeros only, and every other digit
# is abnormal. You state how many false alarms are acceptable: here, one zero in twenty.

small = load("digits")  # 8 x 8 pixels, as they are
zero, zero_in_test = small.train.y == 0, small.test.y == 0
detector = AnomalyDetector(Autoencoder(random_state=0), false_alarm_rate=0.05, random_state=0)
abnormal = detector.fit(small.train.X[zero]).predict(small.test.X) == -1
print(f"false alarms: {abnormal[zero_in_test].sum()} of {zero_in_test.sum()} zeros")
print(f"found: {abnormal[~zero_in_test].mean():.1%} of the other digits")

# %%
# The threshold comes from zeros on which no encoder was trained. Otherwise it would be too low,
# since a network reconstructs its training rows better than new ones. So the detector trains
# several encoders here: each leaves out a part of the zeros, which then calibrates. A fitted
# encoder can be given instead, with rows that are new to it.
#
# Afterwards
# ----------
#
# On MNIST itself, with all 60,000 images, 50 epochs and a linear head, the network of this page
# reaches a test accuracy of 96.9 %. Leaving out ``recipe="reference"`` gives another network and
# another objective, which take minutes on two cores: 99.0 % with the same head and the same 128
# numbers, and 96.2 % from a hundred labels, where raw pixels give 73.1 %. The :doc:`measurements
# </measured>` have the table, and the command that prints it.
#
# Where to read on: :doc:`concepts </concepts>` explains the terms, :doc:`objectives </objectives>`
# what training can minimise, :doc:`exporting </export>` how the whole decision becomes one file
# that runs without torch.

"""One call: how good a classifier is, beside its controls."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._notebook import Evaluation
from isthmus.errors import DataError
from isthmus.evaluation.controls import Controls, control_names, score_head
from isthmus.heads import CodeClassifier
from isthmus.heads.build import uses_unlabelled
from isthmus.heads.cache import encode
from isthmus.heads.labels import check_labels


def evaluate(
    classifier: CodeClassifier,
    X: Any,
    y: Any,
    *,
    X_train: Any = None,
    y_train: Any = None,
    controls: str | None = "fast",
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Test a classifier, and its controls with the same head and the same labels.

    Parameters
    ----------
    classifier : fitted CodeClassifier
    X : array or DataFrame of n test instances
    y : array of shape (n,)
        Their labels.
    X_train, y_train : like X and y
        What the classifier was fitted on, unlabelled instances among them where its head uses
        those; the controls are fitted on it too.
    controls : {"fast", "all"} or None, default="fast"
        `"fast"`: raw features, PCA of the same width, the untrained encoder. `"all"`: and
        a network supervised from end to end. None: no controls.
    random_state : int, RandomState instance or None, default=None
    verbose : bool, default=False

    Returns
    -------
    Evaluation
        A dict of plain values, a table in a notebook: `head`, `code` and `controls`, each as
        `class_metrics` gives them.

    Raises
    ------
    DataError
        When labels are missing, or controls are asked for without training instances.

    Examples
    --------
    >>> from isthmus import Autoencoder, load
    >>> digits = load("digits")
    >>> encoder = Autoencoder(max_epochs=5, random_state=0).fit(digits.train.X)
    >>> classifier = CodeClassifier(encoder).fit(digits.train.X, digits.train.y)
    >>> found = evaluate(classifier, digits.test.X, digits.test.y, controls=None)
    >>> found["code"]["n"], found["code"]["accuracy"] > 0.8
    (360, True)
    """
    check_is_fitted(classifier)
    names = control_names(controls)
    encoder = classifier.encoder_
    codes = encode(encoder, X, classifier.cache_dir)
    y = _test_labels(y, len(codes), classifier.classes_)
    result = Evaluation(
        head=classifier.head if isinstance(classifier.head, str) else repr(classifier.head),
        code=score_head(classifier.standardised_head_, codes, y),
        controls={},
    )
    if not names:
        return result
    if X_train is None or y_train is None:
        raise DataError(
            "controls are fitted on the labelled training instances; pass X_train= and y_train=, "
            "or controls=None"
        )
    y_train = check_labels(y_train, len(X_train), unlabelled=uses_unlabelled(classifier.head))
    tests = Controls(encoder, X_train, y_train, X, y, random_state=random_state, verbose=verbose)
    for name in names:
        result["controls"][name] = (
            tests.test_supervised() if name == "supervised" else tests.test(name, classifier.head)
        )
    return result


def _test_labels(y: Any, n_instances: int, classes: np.ndarray) -> np.ndarray:
    y = np.asarray(y)
    if y.shape != (n_instances,):
        raise DataError(
            f"got {n_instances} instances and labels of shape {y.shape}; "
            "expected one label for each instance"
        )
    if y.dtype.kind in "if" and classes.dtype.kind not in "ifb":
        raise DataError(
            f"got {y.dtype} labels, but the classifier was fitted on labels such as "
            f"{classes[0]!r}; pass labels of the same kind"
        )
    return y

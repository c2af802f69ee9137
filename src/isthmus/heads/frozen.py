"""An encoder inside a head: fitted ones are shared as they are, and not to be changed."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from isthmus._notebook import LearnedTable
from isthmus.errors import FrozenError


def is_fitted(estimator: Any) -> bool:
    """Return whether an estimator has been fitted."""
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


class OnFrozenEncoder(LearnedTable, BaseEstimator):
    """What heads have in common: an `encoder` that is cloned only while it is not fitted."""

    encoder: Any

    def __sklearn_clone__(self) -> Self:
        # A fitted encoder is handed on as it is, like sklearn.frozen.FrozenEstimator.
        fitted = is_fitted(self.encoder)
        parameters = {
            name: value if name == "encoder" and fitted else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        return type(self)(**parameters)

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters; those of an encoder that is fitted cannot be.

        Raises
        ------
        FrozenError
            When a parameter such as `encoder__n_components` is given and the encoder is fitted:
            nothing would learn again.
        """
        inner = [name for name in parameters if name.startswith("encoder__")]
        if inner and "encoder" not in parameters and is_fitted(self.encoder):
            raise FrozenError(
                f"got {inner[0]!r}, and the encoder is fitted: it would not learn again; pass "
                "one that is not, as in CodeClassifier(Autoencoder()), to search its parameters"
            )
        return super().set_params(**parameters)

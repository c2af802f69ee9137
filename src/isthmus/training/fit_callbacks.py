"""Callbacks of scikit-learn (`sklearn.callback`, from 1.9 on) at the fits of estimators here.

An estimator calls them at the begin and end of tasks, which form a tree: a fit is one, and of an
autoencoder each epoch in it. Meta-estimators of scikit-learn, such as a pipeline, hang the tree of
an estimator into their own, and pass on callbacks such as its progress bar.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import Any, TypeVar, cast

from torch import nn

from isthmus.training.callbacks import Callback

F = TypeVar("F", bound=Callable[..., Any])
LearnedAfter = Callable[[list[dict[str, Any]]], dict[str, Any]]

_callbacks: Any = None
if find_spec("sklearn.callback") is not None:
    _callbacks = importlib.import_module("sklearn.callback")
CallbackSupportMixin: Any = object if _callbacks is None else _callbacks.CallbackSupportMixin


def with_callbacks(method: F) -> F:
    """Let a method that fits close its callbacks of scikit-learn, also when it fails.

    Parameters
    ----------
    method : callable

    Returns
    -------
    callable

    Examples
    --------
    >>> @with_callbacks
    ... def fit(estimator):
    ...     return estimator
    >>> fit("as without")
    'as without'
    """
    return method if _callbacks is None else cast(F, _callbacks.with_callbacks(method))


class FitTask:
    """A task of a fit, at whose begin and end the callbacks of an estimator are called.

    Parameters
    ----------
    estimator : estimator
    context : sklearn.callback.CallbackContext or None
        None where there are no callbacks; nothing is then done.
    **data
        What callbacks get of the task: `X` and `y`.
    """

    def __init__(self, estimator: Any, context: Any, **data: Any) -> None:
        self.estimator, self.context, self.data = estimator, context, data

    def begin(self) -> None:
        """Call the callbacks at the begin of the task."""
        if self.context is not None:
            self.context.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, learned: Callable[[], dict[str, Any]]) -> bool:
        """Call the callbacks at the end of the task.

        Parameters
        ----------
        learned : callable
            Returns the attributes that a copy of the estimator needs to be a fitted one, as it is
            now; called if a callback asks for one.

        Returns
        -------
        bool
            Whether one of them asks to end the training.
        """
        if self.context is None:
            return False
        return bool(
            self.context.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=learned, **self.data
            )
        )

    def epochs(self, learned: LearnedAfter) -> list[Callback]:
        """Return the callbacks of a training whose epochs are tasks within this one.

        Parameters
        ----------
        learned : callable
            From the records of the epochs done to what `end` takes.

        Returns
        -------
        list of Callback
            Empty without callbacks.
        """
        return [] if self.context is None else [EpochTasks(self, learned)]

    @contextmanager
    def subtask(self, name: str, trained: Any = None) -> Iterator[FitTask]:
        """Make the block a task within this one.

        Parameters
        ----------
        name : str
        trained : estimator, optional
            That is fitted in the block: callbacks are passed on to it.

        Yields
        ------
        FitTask
            This one without callbacks.
        """
        if self.context is None:
            yield self
            return
        task = FitTask(self.estimator, self.context.subcontext(task_name=name), **self.data)
        task.begin()
        if trained is None:
            yield task
        else:
            with task.context.propagate_callback_context(trained):
                yield task
        task.end(dict)


class FitCallbacksMixin(CallbackSupportMixin):
    """Give an estimator `set_callbacks`, where scikit-learn has callbacks.

    Its `fit` is decorated with `with_callbacks`, and does its work within `fit_task`.

    Examples
    --------
    >>> class Estimator(FitCallbacksMixin):
    ...     @with_callbacks
    ...     def fit(self, X, y=None):
    ...         with self.fit_task(X, y, n_subtasks=1) as task, task.subtask("step"):
    ...             return self
    >>> type(Estimator().fit([[0.0]])).__name__
    'Estimator'
    """

    @contextmanager
    def fit_task(self, X: Any, y: Any, n_subtasks: int = 0) -> Iterator[FitTask]:
        """Make the block the task of a fit.

        Parameters
        ----------
        X, y
            As given to `fit`; held in memory only where there are callbacks.
        n_subtasks : int, default=0
            At most.

        Yields
        ------
        FitTask
        """
        if not getattr(self, "_skl_callbacks", None):
            del X, y
            yield FitTask(self, None)
            return
        context = self._init_callback_context(max_subtasks=n_subtasks)
        task = FitTask(self, context, X=X, y=y)
        task.begin()
        yield task
        task.end(dict)


class EpochTasks(Callback):
    """Make each epoch of a training a task.

    Parameters
    ----------
    fit_task : FitTask
    learned : callable
        See `FitTask.epochs`.
    """

    def __init__(self, fit_task: FitTask, learned: LearnedAfter) -> None:
        self.fit_task, self.learned = fit_task, learned
        self.history: list[dict[str, Any]] = []

    def on_epoch_end(self, record: dict[str, Any], network: nn.Module, improved: bool) -> bool:
        """Call the callbacks at the begin and end of the epoch, both when it has ended."""
        self.history.append(record)
        epoch = self.fit_task.context.subcontext(task_name="epoch")
        task = FitTask(self.fit_task.estimator, epoch, **self.fit_task.data)
        task.begin()
        return task.end(lambda: self.learned(list(self.history)))


def as_fit_task(fit: F) -> F:
    """Make a whole `fit(self, X, y, ...)` one task of `FitCallbacksMixin`.

    Parameters
    ----------
    fit : callable

    Returns
    -------
    callable
    """

    @wraps(fit)
    def fit_as_task(self: Any, X: Any, y: Any = None, *args: Any, **given: Any) -> Any:
        with self.fit_task(X, y):
            return fit(self, X, y, *args, **given)

    return cast(F, with_callbacks(fit_as_task))

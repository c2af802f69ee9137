"""What a `FrozenEncoder` runs: a torch module, an ONNX file, a transformer, a function.

Each is copied when it is taken, so that later changes of the original change no code.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import nn

from isthmus._core import read_bytes, require, shown, user_path
from isthmus.errors import DataError
from isthmus.networks import digest, tensor_versions
from isthmus.training import isolated_random_state

#: The name of the encoder whose code is the instance itself.
PRECOMPUTED = "precomputed"
#: dtypes of ONNX inputs, by their name in ONNX Runtime.
_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class Backend(ABC):
    """Runs an encoder that was made elsewhere.

    Attributes
    ----------
    kind : str
    takes_network_inputs : bool
        Whether it gets tensors as torch takes them where nothing prepares the instances, and not
        the instances in the units of the data.
    name : str
        Its class, function or file.
    """

    kind: ClassVar[str]
    takes_network_inputs: ClassVar[bool] = False
    name: str

    @abstractmethod
    def run(self, inputs: Any) -> np.ndarray:
        """Return the codes of a batch of prepared instances, float32 of shape (n, ...).

        Parameters
        ----------
        inputs : array, tensor or DataFrame of n instances

        Returns
        -------
        float32 array of shape (n, ...)
        """

    @abstractmethod
    def digest(self) -> str | None:
        """Return the SHA-256 of all that it is made of; None where that cannot be seen.

        Returns
        -------
        str or None
        """

    def versions(self) -> Any:
        """Return values that differ once it was changed, found without reading all of it.

        Returns
        -------
        object
            Compared by equality.
        """
        return None

    def untrained(self, seed: int) -> Backend | None:
        """Return the same with fresh random weights; None where none can be drawn.

        Parameters
        ----------
        seed : int

        Returns
        -------
        Backend or None
        """
        return None


class TorchBackend(Backend):
    """A copy of a torch module, in evaluation mode and without gradients.

    Parameters
    ----------
    module : torch.nn.Module
    """

    kind = "torch"
    takes_network_inputs = True

    def __init__(self, module: nn.Module) -> None:
        self.name = type(module).__name__
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    def run(self, inputs: Any) -> np.ndarray:
        """Run the module on the device that its weights are on.

        Parameters
        ----------
        inputs : array or tensor of shape (n, ...)

        Returns
        -------
        float32 array of shape (n, ...)

        Raises
        ------
        DataError
            When the module refuses them, or returns no tensor.
        """
        if not isinstance(inputs, torch.Tensor):
            inputs = torch.from_numpy(np.require(inputs, requirements=["C", "W"]))
        tensor = inputs
        if tensor.is_floating_point():
            tensor = tensor.float()
        weight = next(itertools.chain(self.module.parameters(), self.module.buffers()), None)
        with torch.inference_mode():
            codes = self.module(tensor if weight is None else tensor.to(weight.device))
            if not isinstance(codes, torch.Tensor):
                raise DataError(
                    f"{self.name} returned {type(codes).__name__}, expected one tensor of codes; "
                    "wrap it in a module that returns the one to take"
                )
            return codes.float().cpu().numpy()

    def digest(self) -> str:
        """Return the SHA-256 of parameters and buffers.

        Returns
        -------
        str
        """
        return digest(self.module)

    def versions(self) -> Any:
        """Return torch's counts of changes of the tensors.

        Returns
        -------
        list
        """
        return tensor_versions(self.module)

    def untrained(self, seed: int) -> TorchBackend | None:
        """Return the module after `reset_parameters` of all layers, if that reaches all weights.

        Parameters
        ----------
        seed : int

        Returns
        -------
        TorchBackend or None
        """
        fresh = TorchBackend(self.module)
        with isolated_random_state(seed):
            for layer in fresh.module.modules():
                if callable(reset := getattr(layer, "reset_parameters", None)):
                    reset()
        pairs = zip(self.module.parameters(), fresh.module.parameters(), strict=True)
        stay = (before.equal(after) for before, after in pairs if len(before.unique()) > 1)
        return None if any(stay) else fresh


class OnnxBackend(Backend):
    """An ONNX file with one input, whose first output is the code.

    Parameters
    ----------
    path : path
    """

    kind = "onnx"
    takes_network_inputs = True

    def __init__(self, path: str | Path) -> None:
        self.name = user_path(path).name
        if not self.name.endswith(".onnx"):
            raise DataError(
                f"got {shown(str(path))}, expected the path of an ONNX file, NAME.onnx, or "
                f"{PRECOMPUTED!r}"
            )
        self.content = read_bytes(user_path(path))
        self.session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"session": None}  # which cannot be copied

    def run(self, inputs: Any) -> np.ndarray:
        """Run the graph with ONNX Runtime, in batches of its size where that is fixed.

        Parameters
        ----------
        inputs : array of shape (n, ...)

        Returns
        -------
        float32 array of shape (n, ...)

        Raises
        ------
        DataError
            When their type is not that of the graph's input.
        """
        session = self._opened()
        node = session.get_inputs()[0]
        values, dtype = np.asarray(inputs), _ONNX_TYPES.get(node.type, np.float32)
        if values.dtype.kind == "f" and np.dtype(dtype).kind != "f":
            raise DataError(
                f"{self.name} takes {np.dtype(dtype)}, and the inputs are {values.dtype}; pass "
                f"preprocess=, a function from instances to an array of {np.dtype(dtype)}"
            )
        values = values.astype(dtype, copy=False)
        size = node.shape[0] if node.shape and isinstance(node.shape[0], int) else len(values)
        parts = []
        for first in range(0, len(values), size):
            part = values[first : first + size]
            short = size - len(part)
            padded = np.concatenate([part, np.repeat(part[:1], short, axis=0)]) if short else part
            codes = session.run([session.get_outputs()[0].name], {node.name: padded})[0]
            parts.append(np.asarray(codes, dtype=np.float32)[: len(part)])
        return np.concatenate(parts)

    def digest(self) -> str:
        """Return the SHA-256 of the file.

        Returns
        -------
        str
        """
        return hashlib.sha256(self.content).hexdigest()

    def _opened(self) -> Any:
        if self.session is None:
            runtime = require("onnxruntime", extra="onnx", purpose="an encoder in an ONNX file")
            try:
                self.session = runtime.InferenceSession(
                    self.content, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime has no class for all of them
                raise DataError(
                    f"{self.name} cannot be run: {error}; write the ONNX file again, whole and "
                    "with its weights inside"
                ) from error
            if len(self.session.get_inputs()) != 1:
                names = ", ".join(one.name for one in self.session.get_inputs())
                raise DataError(
                    f"{self.name} has the inputs {names}, expected one; cut the graph, for example "
                    "with onnx.utils.extract_model"
                )
        return self.session


class TransformerBackend(Backend):
    """A copy of a fitted scikit-learn transformer.

    Parameters
    ----------
    transformer : fitted scikit-learn transformer
    """

    kind = "scikit-learn"

    def __init__(self, transformer: Any) -> None:
        self.name = type(transformer).__name__
        try:
            check_is_fitted(transformer)
        except NotFittedError as error:
            raise DataError(
                f"got {self.name}, which is not fitted, and a frozen encoder is not trained; fit "
                "it first, on instances that no detector calibrates on"
            ) from error
        self.transformer = copy.deepcopy(transformer)

    def run(self, inputs: Any) -> np.ndarray:
        """Transform the instances, images and series as one row each.

        Parameters
        ----------
        inputs : array of shape (n, ...) or DataFrame

        Returns
        -------
        float32 array of shape (n, n_components)
        """
        rows = inputs.reshape(len(inputs), -1) if isinstance(inputs, np.ndarray) else inputs
        codes = self.transformer.transform(rows)
        codes = codes.toarray() if hasattr(codes, "toarray") else codes
        return np.asarray(codes, dtype=np.float32)

    def digest(self) -> str:
        """Return the SHA-256 of class, parameters and fitted attributes.

        Returns
        -------
        str
        """
        total = hashlib.sha256()
        _update(total, self.transformer)
        return total.hexdigest()


class CallableBackend(Backend):
    """A function from prepared instances to codes, of which only the codes can be compared."""

    kind = "callable"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self.function = function

    def run(self, inputs: Any) -> np.ndarray:
        """Call the function."""
        codes = self.function(inputs)
        if isinstance(codes, torch.Tensor):
            codes = codes.detach().float().cpu()
        return np.asarray(codes, dtype=np.float32)

    def digest(self) -> None:
        """Return None: what a function does is not in its name."""


class PrecomputedBackend(Backend):
    """Instances that are codes already."""

    kind = name = PRECOMPUTED

    def run(self, inputs: Any) -> np.ndarray:
        """Return the numbers of the table.

        Parameters
        ----------
        inputs : array of shape (n, m) or DataFrame

        Returns
        -------
        float32 array of shape (n, m)
        """
        return np.asarray(inputs, dtype=np.float32)

    def digest(self) -> str:
        """Return the SHA-256 of the name.

        Returns
        -------
        str
        """
        return hashlib.sha256(PRECOMPUTED.encode()).hexdigest()


def backend_of(model: Any) -> Backend:
    """Return the backend that runs a model.

    Parameters
    ----------
    model : torch.nn.Module, path of an ONNX file, fitted transformer, callable or "precomputed"

    Returns
    -------
    Backend

    Raises
    ------
    DataError
        When it is nothing that can be run, an ONNX file that cannot be read, or a transformer that
        is not fitted.
    """
    if isinstance(model, str) and model == PRECOMPUTED:
        return PrecomputedBackend()
    if isinstance(model, str | Path):
        return OnnxBackend(model)
    if isinstance(model, nn.Module):
        return TorchBackend(model)
    if hasattr(model, "transform") and not isinstance(model, type):
        return TransformerBackend(model)
    if callable(model) and not isinstance(model, type):
        return CallableBackend(model)
    raise DataError(
        f"got model={model!r}, expected a torch.nn.Module, a fitted scikit-learn transformer, the "
        f"path of an ONNX file, a function from instances to codes, or {PRECOMPUTED!r}"
    )


def _update(total: Any, value: Any) -> None:
    """Add a value to a digest: the same for equal estimators in any process."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        array = np.ascontiguousarray(value)
        total.update(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())
    elif isinstance(value, np.ndarray):
        _update(total, value.tolist())
    elif value is None or isinstance(value, str | bytes | int | float | complex | type):
        total.update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _update(total, [key, value[key]])
    elif isinstance(value, list | tuple | set | frozenset):
        total.update(f"{type(value).__name__} {len(value)};".encode())
        for one in value if isinstance(value, list | tuple) else sorted(value, key=repr):
            _update(total, one)
    elif callable(value) and hasattr(value, "__qualname__"):
        total.update(f"{value.__module__}.{value.__qualname__};".encode())
    else:
        total.update(f"{type(value).__qualname__};".encode())
        for one in value.__reduce_ex__(2)[1:3]:  # no class, which is named above
            _update(total, one)

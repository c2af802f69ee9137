"""Building of ONNX graphs, operation by operation, and merging of several into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._core import require

if TYPE_CHECKING:
    from onnx import ModelProto

#: Operator sets that ONNX Runtime 1.20 and every later version can run.
OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 10
#: Name of the first dimension, the number of instances.
BATCH = "n"

Shape = Sequence[int | str]


def onnx_module(name: str = "") -> Any:
    """Import `onnx` or one of its modules; without it, the error names the extra to install."""
    return require(f"onnx.{name}" if name else "onnx", extra="onnx", purpose="exporting")


class GraphBuilder:
    """Builder of an ONNX graph: inputs, operations and outputs.

    A value is referred to by its name, which every method returns. Names begin with that of the
    builder, so that those of several builders never collide.

    Parameters
    ----------
    name : str
        Of the graph; unique among the graphs that are merged.

    Examples
    --------
    >>> graph = GraphBuilder("double")
    >>> x = graph.input("x", np.float64, (BATCH, 3))
    >>> graph.output("y", graph("Mul", x, graph.constant(np.array(2.0))), np.float64, (BATCH, 3))
    >>> [value.name for value in graph.model().graph.output]
    ['y']
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def __call__(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operation with one result; return the result's name."""
        return self.several(op, 1, *inputs, domain=domain, **attributes)[0]

    def several(
        self, op: str, n_results: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add an operation with several results; return their names."""
        results = [self._new_name() for _ in range(n_results)]
        helper = onnx_module("helper")
        node = helper.make_node(
            op, list(inputs), results, name=results[0], domain=domain, **attributes
        )
        self._nodes.append(node)
        return results

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Add constant numbers or text."""
        array = np.asarray(values) if dtype is None else np.asarray(values, dtype=dtype)
        name = self._new_name()
        if array.dtype.kind in "USO":
            text = [str(value).encode() for value in array.ravel()]
            kind = onnx_module().TensorProto.STRING
            tensor = onnx_module("helper").make_tensor(name, kind, array.shape, text)
        else:
            tensor = onnx_module("numpy_helper").from_array(np.ascontiguousarray(array), name)
            tensor.dims[:] = array.shape
        self._constants.append(tensor)
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Add a cast to a type."""
        return self("Cast", value, to=_onnx_type(dtype))

    def double(self, value: str) -> str:
        """Add a cast to float64."""
        return self.cast(value, np.float64)

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        """Declare an input of the graph."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: Shape) -> None:
        """Declare an output of the graph."""
        self._nodes.append(onnx_module("helper").make_node("Identity", [value], [name], name=name))
        self._outputs.append(_value(name, dtype, shape))

    def model(self) -> ModelProto:
        """Return the graph as an ONNX model."""
        helper = onnx_module("helper")
        built = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, self._constants
        )
        return normalise_model(helper.make_model(built))

    def _new_name(self) -> str:
        self._count += 1
        return f"isthmus/{self.name}/{self._count}"


def normalise_model(model: ModelProto) -> ModelProto:
    """Set the versions that every export has, and remove paths and traces of the machine."""
    helper = onnx_module("helper")
    other_domains = {
        one.domain: one.version for one in model.opset_import if one.domain not in OPSETS
    }
    del model.opset_import[:]
    versions = (OPSETS | other_domains).items()
    model.opset_import.extend(helper.make_opsetid(name, at) for name, at in versions)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "isthmus", "", ""
    for node in model.graph.node:  # the exporter leaves paths and stack traces there
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    return model


def merge(first: ModelProto, second: ModelProto, connections: Mapping[str, str]) -> ModelProto:
    """Merge two models; outputs of the first stay outputs of the whole.

    Parameters
    ----------
    first, second : ModelProto
    connections : mapping
        From outputs of the first to the inputs of the second that take them.
    """
    outputs = [value.name for model in (first, second) for value in model.graph.output]
    merged = onnx_module("compose").merge_models(
        first, second, io_map=list(connections.items()), outputs=outputs
    )
    return normalise_model(merged)


def keep_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """Return a model with these outputs, in this order, and only the nodes they need."""
    graph = model.graph
    by_name = {value.name: value for value in graph.output}
    del graph.output[:]
    graph.output.extend(by_name[name] for name in names)
    needed, nodes = set(names), []
    for node in reversed(graph.node):  # nodes stand in the order of computation
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    constants = [one for one in graph.initializer if one.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(constants)
    return model


def _value(name: str, dtype: Any, shape: Shape) -> Any:
    helper = onnx_module("helper")
    return helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape))


def _onnx_type(dtype: Any) -> int:
    if dtype in (str, "str"):
        return int(onnx_module().TensorProto.STRING)
    return int(onnx_module("helper").np_dtype_to_tensor_dtype(np.dtype(dtype)))

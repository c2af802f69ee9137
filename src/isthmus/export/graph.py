"""Building of ONNX graphs, operation by operation, merging of several into one, and neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._core import GROUP, SPARE, TINY, Copies, NeighborIndex, require

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
    """Return a model with these outputs, in this order, and only the nodes they need.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.
    names : sequence of str

    Returns
    -------
    onnx.ModelProto
    """
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


def total(graph: GraphBuilder, values: str, *, keep: bool = False) -> str:
    """Add the sum along the last axis."""
    return graph("ReduceSum", values, graph.constant([-1]), keepdims=int(keep))


def nearest(graph: GraphBuilder, points: str, references: np.ndarray, k: int) -> tuple[str, str]:
    """Add the search for the k nearest references, as `isthmus._core.NeighborIndex` does it.

    Points whose neighbours the bounds in float32 leave open are compared with all references in
    float64.

    Parameters
    ----------
    graph : GraphBuilder
    points : str
        (n, m), float32 or float64.
    references : array of shape (r, m)
    k : int
        At most r.

    Returns
    -------
    distances : str
        Euclidean, (n, k), float64, the smallest first.
    rows : str
        Of the references, (n, k), int64.
    """
    index, points = NeighborIndex(references), graph.double(points)
    n_found = min(k, len(index.different))
    # Stored in their own dtype: half the size in the file where they are float32.
    stored = graph.constant(np.ascontiguousarray(index.different))
    if len(index.different) <= (k + SPARE) * GROUP:
        found = _nearest_of_all(graph, points, stored, index.different, n_found)
    else:
        found = _nearest_by_bounds(graph, points, stored, index, n_found)
    return found if index.copies is None else _add_copies(graph, *found, index.copies, k)


def _nearest_by_bounds(
    graph: GraphBuilder, points: str, stored: str, index: NeighborIndex, k: int
) -> tuple[str, str]:
    """Add the search among references of which no two are equal."""
    centred = graph("Sub", points, graph.constant(index.centre))
    scaled = graph("Div", centred, graph.constant(np.float64(index.unit)))
    length = graph("ReduceL2", scaled, graph.constant([1]))
    slack = graph("Mul", length, graph.constant(np.float64(index.slack)))
    factors = graph.cast(graph("Concat", scaled, slack, axis=1), np.float32)
    of_references = np.delete(index.factors, -2, axis=1).T
    constant_term = graph.constant(index.factors[:, -2])
    bounds = graph("Gemm", factors, graph.constant(of_references), constant_term)
    n_groups, n_near = len(index.factors) // GROUP, k + SPARE
    groups = graph("Reshape", bounds, graph.constant([0, GROUP, n_groups]))
    minima = graph("ReduceMin", groups, graph.constant([1]), keepdims=0)
    _, best = _smallest(graph, minima, n_near)
    members = graph(
        "Add",
        graph("Unsqueeze", best, graph.constant([2])),
        graph.constant(n_groups * np.arange(GROUP)),
    )
    members = graph("Reshape", members, graph.constant([0, n_near * GROUP]))
    least, places = _smallest(graph, _take(graph, bounds, members), n_near)
    near = _take(graph, members, places)
    distances, rows = _nearest_among(graph, points, stored, near, k)
    # Half of the k-th squared distance, as the bounds are: without half of that of the point.
    kth = graph(
        "Slice", distances, graph.constant([k - 1]), graph.constant([k]), graph.constant([1])
    )
    kth = graph("Div", kth, graph.constant(np.float64(index.unit)))
    half = graph.constant(np.float64(0.5))
    kth = graph("Mul", graph("Sub", graph("Mul", kth, kth), graph("Mul", length, length)), half)
    rounding = graph("Mul", graph("Mul", length, length), graph.constant(np.float64(1e-15)))
    kth = graph("Add", graph("Add", kth, rounding), graph.constant(np.float64(TINY)))
    largest = graph.double(graph("ReduceMax", least, graph.constant([1])))
    unsure = graph("Squeeze", graph("Not", graph("Less", kth, largest)), graph.constant([1]))
    # The first row is always among them: ONNX Runtime before 1.31 crashes at TopK of no rows.
    n_rows = graph("Squeeze", graph("Shape", unsure))
    numbers = graph("Range", graph.constant(np.int64(0)), n_rows, graph.constant(np.int64(1)))
    unsure = graph("Or", unsure, graph("Equal", numbers, graph.constant(np.int64(0))))
    places = graph("Transpose", graph("NonZero", unsure), perm=[1, 0])
    again = graph("GatherND", points, places)
    others = _nearest_of_all(graph, again, stored, index.different, k)
    return (
        graph("ScatterND", distances, places, others[0]),
        graph("ScatterND", rows, places, others[1]),
    )


def _nearest_of_all(
    graph: GraphBuilder, points: str, stored: str, references: np.ndarray, k: int
) -> tuple[str, str]:
    """Add the search by |r|² - 2 x·r in float64."""
    norms = graph.constant(np.square(references.astype(np.float64)).sum(axis=1)[None])
    double = graph.double(stored)
    partial = graph("Gemm", points, double, norms, alpha=-2.0, beta=1.0, transB=1)
    return _nearest_among(graph, points, stored, _smallest(graph, partial, k)[1], k)


def _nearest_among(
    graph: GraphBuilder, points: str, stored: str, rows: str, k: int
) -> tuple[str, str]:
    """Add the k nearest of these rows, (n, c), by the differences.

    The rounding of a product would give equal points different distances.
    """
    found = graph.double(graph("Gather", stored, rows, axis=0))
    away = graph("Sub", graph("Unsqueeze", points, graph.constant([1])), found)
    distances = graph("Sqrt", total(graph, graph("Mul", away, away)))
    distances, places = _smallest(graph, distances, k, in_order=1)
    return distances, graph("GatherElements", rows, places, axis=1)


def _smallest(graph: GraphBuilder, values: str, k: int, in_order: int = 0) -> list[str]:
    """Add the k smallest values of each row and their places."""
    return graph.several("TopK", 2, values, graph.constant([k]), axis=1, largest=0, sorted=in_order)


def _take(graph: GraphBuilder, values: str, places: str) -> str:
    """Add the values, (n, m), at these places of each row, (n, k).

    As GatherElements, of which onnx's own evaluation takes 64 columns at most.
    """
    return graph("GatherND", values, graph("Unsqueeze", places, graph.constant([2])), batch_dims=1)


def _add_copies(
    graph: GraphBuilder, distances: str, found: str, copies: Copies, k: int
) -> tuple[str, str]:
    """Add the k nearest rows for the nearest different references, as `Copies.expand` does."""
    numbers = graph("Gather", graph.constant(np.diff(copies.starts)), found)
    up_to = graph("CumSum", numbers, graph.constant(np.int64(1)))
    nth = graph.constant(np.arange(k)[:, None])
    passed = graph("LessOrEqual", graph("Unsqueeze", up_to, graph.constant([1])), nth)
    passed = graph.cast(passed, np.int64)  # (n, k, f)
    place = total(graph, passed)
    before = total(graph, graph("Mul", passed, graph("Unsqueeze", numbers, graph.constant([1]))))
    which = graph("Sub", graph.constant(np.arange(k)), before)
    start = graph("Gather", graph.constant(copies.starts[:-1]), found)
    at = graph("Add", graph("GatherElements", start, place, axis=1), which)
    return (
        graph("GatherElements", distances, place, axis=1),
        graph("Gather", graph.constant(copies.rows), at),
    )


def _value(name: str, dtype: Any, shape: Shape) -> Any:
    helper = onnx_module("helper")
    return helper.make_tensor_value_info(name, _onnx_type(dtype), list(shape))


def _onnx_type(dtype: Any) -> int:
    if dtype in (str, "str"):
        return int(onnx_module().TensorProto.STRING)
    return int(onnx_module("helper").np_dtype_to_tensor_dtype(np.dtype(dtype)))

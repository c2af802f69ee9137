"""The one interface of X in memory, streamed, or as stored codes."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus
from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, StoredCodes, load
from isthmus.data import Dataset, InMemory, as_instances, over_chunks, rows_of, take_rows
from isthmus.data.streaming import Stream
from isthmus.errors import DataError

SOURCE = Path(isthmus.__file__).parent
DOOR = SOURCE / "data" / "instances.py"
#: Types that only instances.py may check for.
KINDS = {"Stream", "StoredCodes", "InMemory", "Instances"}
N = 50


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(N, 3)), columns=["a", "b", "c"])


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 3, N)


@pytest.fixture
def stream(tmp_path, table, labels):
    """The rows in five files, with their labels."""
    for at in range(5):
        rows = slice(10 * at, 10 * at + 10)
        table[rows].assign(y=labels[rows]).to_parquet(tmp_path / f"{at}.parquet")
    return load(tmp_path, label="y")


@pytest.fixture
def codes(table, labels):
    values = table.to_numpy(np.float32)
    return StoredCodes(
        values, "digest", "identity", np.arange(N, dtype=np.uint64), values**2, labels
    )


@pytest.fixture(params=["array", "DataFrame", "Stream", "StoredCodes"])
def handed_over(request, table, stream, codes):
    """The same rows as each type of X."""
    return {
        "array": table.to_numpy(np.float32),
        "DataFrame": table,
        "Stream": stream,
        "StoredCodes": codes,
    }[request.param]


def numbers(X):
    """Return rows of any kind as an array."""
    return X.codes if isinstance(X, StoredCodes) else np.asarray(X, np.float32)


def test_the_door_gives_one_of_three_kinds_and_looks_at_no_value(table, stream, codes):
    assert as_instances(stream) is stream
    assert as_instances(codes) is codes
    inside = as_instances(table)
    assert isinstance(inside, InMemory)
    assert as_instances(inside) is inside
    assert inside.held is table
    strange = np.array([[1, object()]])  # what values may be is the estimator's to refuse
    assert as_instances(strange).held is strange
    facts = {type(each): (each.in_memory, each.encoded) for each in (inside, stream, codes)}
    assert facts == {
        InMemory: (True, False),
        Stream: (False, False),
        StoredCodes: (True, True),
    }


def test_all_kinds_have_the_same_rows_in_chunks(handed_over, table):
    instances = as_instances(handed_over)
    assert len(instances) == instances.n_rows == N
    chunks = list(instances.chunks())
    starts = np.cumsum([0] + [len(chunk) for chunk in chunks])
    assert [chunk.first_row for chunk in chunks] == starts[:-1].tolist()
    assert len(chunks) == (1 if instances.in_memory else 5)
    rows = np.concatenate([numbers(chunk.X) for chunk in chunks])
    np.testing.assert_array_equal(rows, table.to_numpy(np.float32))
    if instances.in_memory:
        assert chunks[0].X is handed_over


def test_all_kinds_draw_and_take_the_same_rows(handed_over, table):
    instances = as_instances(handed_over)
    rows = instances.draw(20, [3, 4])
    np.testing.assert_array_equal(rows, as_instances(table).draw(20, [3, 4]))
    np.testing.assert_array_equal(numbers(instances.take(rows).X), table.to_numpy(np.float32)[rows])
    found = [rows_of(rows, chunk) + chunk.first_row for chunk in instances.chunks()]
    np.testing.assert_array_equal(np.concatenate(found), rows)


def test_labels_are_those_given_or_stored(handed_over, labels):
    instances = as_instances(handed_over)
    given = labels if instances.in_memory else None
    chunks = list(instances.labelled_chunks(given))
    np.testing.assert_array_equal(np.concatenate([chunk.y for chunk in chunks]), labels)
    stored = [chunk.y for chunk in instances.chunks(label=True)]
    if isinstance(handed_over, Stream | StoredCodes):
        np.testing.assert_array_equal(np.concatenate(stored), labels)
        np.testing.assert_array_equal(instances.take(np.array([2, 7])).y, labels[[2, 7]])
    else:
        assert stored == [None]


def test_a_function_of_chunks_gives_one_array(handed_over, table):
    calls = []

    class Doubler:
        @over_chunks
        def double(self, X, *, factor=2):
            """Double."""
            calls.append(len(X))
            return factor * numbers(X)

    expected = 3 * table.to_numpy(np.float32)
    np.testing.assert_array_equal(Doubler().double(handed_over, factor=3), expected)
    instances = as_instances(handed_over)
    assert calls == ([N] if instances.in_memory else [10] * 5)
    assert sum(instances.map(len)) == N
    assert Doubler.double.__doc__ == "Double."


def test_a_stream_is_mapped_lazily(stream):
    lengths = []
    results = iter(stream.map(lambda X: lengths.append(len(X))))
    assert lengths == []
    next(results)
    assert len(lengths) == 1


def test_instances_in_memory_are_not_sampled(handed_over, labels):
    instances = as_instances(handed_over)
    given = labels if instances.in_memory else None
    X, y = instances.at_most(12, 0, given)
    if instances.in_memory:
        assert X is handed_over
        assert y is labels
    else:
        rows = instances.draw(12, 0)
        np.testing.assert_array_equal(y, labels[rows])
        np.testing.assert_array_equal(X, instances.take(rows).X)


def test_codes_and_hashes_are_stored_or_computed(handed_over, codes):
    def refuse(_):
        raise AssertionError("stored codes were encoded again")

    def encode(X):
        return numbers(X) * 2

    instances = as_instances(handed_over)
    assert instances.has_row_hashes
    if instances.encoded:
        assert instances.codes_by(refuse) is codes.codes
        assert instances.row_hashes(refuse) is codes.hashes
    elif instances.in_memory:
        np.testing.assert_array_equal(instances.codes_by(encode), 2 * codes.codes)
        np.testing.assert_array_equal(instances.row_hashes(lambda X: np.arange(len(X))), range(N))


def test_missing_hashes_and_residuals_are_errors(codes):
    bare = StoredCodes(codes.codes, "digest", "identity")
    assert not bare.has_row_hashes
    with pytest.raises(DataError, match="without row hashes.*--for-heads"):
        bare.row_hashes(len)
    with pytest.raises(DataError, match="without residuals.*--for-heads"):
        bare.stored_residuals()


def test_codes_of_another_encoder_are_refused(handed_over):
    instances = as_instances(handed_over)
    instances.check_made_by("digest", lambda: "identity")
    if not instances.encoded:
        instances.check_made_by(None, lambda: "another")
        return
    for digest, identity, message in [
        (None, "identity", "not fitted"),
        ("other", "identity", "expected other"),
        ("digest", "other", "the preprocessing is not"),
    ]:
        with pytest.raises(DataError, match=message):
            instances.check_made_by(digest, lambda identity=identity: identity)


def test_labels_beside_a_stream_are_refused(stream, table, labels):
    with pytest.raises(DataError, match="got y beside a stream.*leave y out"):
        as_instances(stream, labels)
    assert len(as_instances(table, labels)) == N


@pytest.mark.parametrize(
    ("y", "message"),
    [(None, "50 instances and no labels"), ([1, 2], r"50 instances and labels of shape \(2,\)")],
)
def test_labelled_chunks_need_a_label_for_each_instance(table, y, message):
    with pytest.raises(DataError, match=message):
        as_instances(table).labelled_chunks(y)


def test_labelled_chunks_of_a_stream_need_a_label_column(tmp_path, table):
    table.to_parquet(tmp_path / "0.parquet")
    with pytest.raises(DataError, match="has no labels; name their column.*--label COLUMN"):
        load(tmp_path).labelled_chunks(None)


def test_checks_run_at_once_in_memory_and_on_reading_for_a_stream(table, stream):
    def check(X):
        raise ValueError("not usable")

    assert stream.checked(check) is stream
    with pytest.raises(ValueError, match="not usable"):
        as_instances(table).checked(check)
    assert isinstance(as_instances(table).checked(np.asarray).held, np.ndarray)


def test_take_rows_preserves_the_type(table, codes):
    rows = np.array([4, 1])
    assert take_rows(table, rows).index.tolist() == [4, 1]
    assert take_rows([[1], [2], [3]], np.array([2])).tolist() == [[3]]
    taken = take_rows(codes, rows)
    assert isinstance(taken, StoredCodes)
    np.testing.assert_array_equal(taken.hashes, rows)


def test_in_memory_and_has_labels_of_data_sets(table, labels, stream):
    data = Dataset(table, labels)
    assert data.in_memory
    assert data.split(0.2).in_memory
    assert not stream.in_memory
    assert data.has_labels
    assert stream.has_labels
    assert not Dataset(table).has_labels


def lines_with_type_checks(tree):
    """Return the lines with a check of an object's type against one of the kinds."""

    def names(node):
        parts = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
        return {part.id if isinstance(part, ast.Name) else part.attr for part in parts}

    def is_type_of(node):
        called = node.func if isinstance(node, ast.Call) else node
        return getattr(called, "id", None) == "type" or getattr(called, "attr", None) == "__class__"

    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in (
            "isinstance",
            "issubclass",
        ):
            types = names(node.args[1])
        elif isinstance(node, ast.MatchClass):
            types = names(node.cls)
        elif isinstance(node, ast.Compare) and is_type_of(node.left):
            types = set().union(*(names(each) for each in node.comparators))
        else:
            continue
        if types & KINDS:
            lines.append(node.lineno)
    return lines


def test_type_checks_are_found():
    text = """
isinstance(X, Stream | np.ndarray)
isinstance(X, (codes.StoredCodes, list))
type(X) is Stream
X.__class__ in (InMemory, list)
match X:
    case Stream(): pass
isinstance(X, np.ndarray)
type(X).__name__
"""
    assert lines_with_type_checks(ast.parse(text)) == [2, 3, 4, 5, 7]


def test_only_instances_py_checks_types():
    found = {
        str(path.relative_to(SOURCE)): lines
        for path in SOURCE.rglob("*.py")
        if path != DOOR and (lines := lines_with_type_checks(ast.parse(path.read_text("utf-8"))))
    }
    assert found == {}, "as_instances(X) gives the same interface for every kind"


ROWS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)

NOT_INSTANCES = {
    "five axes": (np.zeros((4, 2, 2, 2, 2)), r"shape \(4, 2, 2, 2, 2\), .*X.reshape\(-1, \*X"),
    "one axis": (np.zeros(9), r"shape \(9,\), .*X.reshape\(-1, 1\) if it is one column"),
    "no axis": (np.array(3.0), r"shape \(\), .*pass rows of values"),
    "a number": (3, "got X=3, a int; expected an array"),
    "nothing": (None, "got X=None, a NoneType; expected an array"),
    "a path": ("rows.csv", r"got the path 'rows.csv', .*isthmus.load\('rows.csv'\).train.X"),
    "a Path": (Path("rows.csv"), r"isthmus.load\('rows.csv'\).train.X"),
    "a generator": ((row for row in ROWS), r"got a generator, .*numpy.stack\(list\(X\)\)"),
    "a dict": ({"a": [1, 2]}, r"got a dict, expected a table; pass pandas.DataFrame\(X\)"),
    "ragged rows": ([[1, 2], [3]], "a list of 2 rows with different lengths"),
    "a loader": (
        torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.zeros(4, 2)), collate_fn=list
        ),
        r"got a DataLoader with its .*numpy.concatenate\(\[batch\[0\] for batch in loader\]\)",
    ),
    "no values": (torch.zeros(4, 2, device="meta"), "a tensor on the device meta"),
}


@pytest.mark.parametrize("name", NOT_INSTANCES)
def test_what_is_no_array_is_refused_with_what_to_pass(name):
    X, message = NOT_INSTANCES[name]
    with pytest.raises(DataError, match=message):
        as_instances(X)


def test_estimators_refuse_them_too():
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(ROWS)
    for ask in (Autoencoder().fit, encoder.transform, encoder.partial_fit, encoder.row_hashes):
        with pytest.raises(DataError, match=r"instances of shape \(4, 2, 2, 2, 2\)"):
            ask(np.zeros((4, 2, 2, 2, 2)))
    for head in (AnomalyDetector(encoder), CodeClassifier(encoder)):
        with pytest.raises(DataError, match="got the path 'rows.csv'"):
            head.fit("rows.csv", [1])


def test_tensors_are_arrays_whatever_their_gradient_layout_or_precision():
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(ROWS)
    tensor = torch.tensor(ROWS, requires_grad=True)
    halves = ROWS.astype(np.float16).astype(np.float32)
    for X, same in (
        (tensor, ROWS),
        (tensor * 1, ROWS),
        ([*tensor], ROWS),
        (torch.tensor(ROWS).to_sparse(), ROWS),
        (torch.tensor(ROWS).half(), halves),
        (torch.tensor(ROWS).bfloat16(), torch.tensor(ROWS).bfloat16().float().numpy()),
        (torch.tensor(ROWS).double(), ROWS),
    ):
        np.testing.assert_array_equal(encoder.transform(X), encoder.transform(same))
    fitted = Autoencoder(2, max_epochs=1, random_state=0).fit(tensor)
    assert fitted.digest_ == encoder.digest_
    assert tensor.requires_grad

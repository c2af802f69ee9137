import json

import numpy as np
import pandas as pd
import pytest

from isthmus.data import Column, Schema, appearance, check_table
from isthmus.data.array_checks import check_images
from isthmus.errors import DataError, DataWarning, SchemaError

TABLE = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
MIXED = pd.DataFrame(
    {
        "width": [1.5, None, 2.5],
        "kind": ["nut", "bolt", None],
        "sold": pd.to_datetime(["2024-05-17 00:00", None, "2024-05-18 06:30"]),
        "new": [True, False, True],
    }
)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.full((2, 3, 4), 7, np.uint8), Schema("images", (3, 4), "uint8", 7, 7)),
        (np.zeros((2, 3, 4, 3), np.float32), Schema("images", (3, 4, 3), "float32", 0, 0)),
        (np.array([[1, 2]]), Schema("table", (2,), "int64", 1, 2)),
        (TABLE, Schema("table", (2,), "float64", 1, 5, ("a", "b"))),
        (TABLE.astype("Int64"), Schema("table", (2,), "float64", 1, 5, ("a", "b"))),
        (
            TABLE.assign(b=[True, False]),
            Schema("table", (2,), "float64", 1, 2, ("a", "b"), (Column(), Column("boolean"))),
        ),
        (np.array([[1, np.nan], [np.nan, 3]]), Schema("table", (2,), "float64", 1, 3)),
    ],
    ids=lambda value: "" if isinstance(value, Schema) else str(value.shape),
)
def test_learn(X, expected):
    schema = Schema.learn(X)
    assert schema == expected
    assert schema.n_features == X[:1].size if isinstance(X, np.ndarray) else 2


def test_there_and_back_through_json():
    for X in (TABLE, MIXED, np.zeros((1, 2, 2, 3), np.uint8)):
        schema = Schema.learn(X)
        assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


# check


def test_check_puts_columns_in_order_and_returns_an_array():
    got = Schema.learn(TABLE).check(TABLE[["b", "a"]])
    np.testing.assert_array_equal(got, TABLE.to_numpy())


def test_check_of_a_frame_that_mixes_types():
    mixed = TABLE.assign(b=pd.array([True, False], "boolean"))
    np.testing.assert_array_equal(Schema.learn(TABLE).check(mixed), [[1, 1], [2, 0]])
    np.testing.assert_array_equal(
        Schema.learn(TABLE).check(TABLE.assign(b=["3", None])), [[1, 3], [2, np.nan]]
    )


def test_check_names_missing_and_unknown_columns():
    with pytest.raises(SchemaError, match=r"missing \['b'\] and not known \['c'\]"):
        Schema.learn(TABLE).check(TABLE.rename(columns={"b": "c"}))


def test_check_takes_a_plain_array_for_a_table_with_names():
    np.testing.assert_array_equal(Schema.learn(TABLE).check(np.array([[1, 2]])), [[1, 2]])


@pytest.mark.parametrize(
    ("X", "fix"),
    [
        (np.zeros((8, 6)), r"X\[None\]"),
        (np.zeros((5, 48)), r"X\.reshape\(\(-1, 8, 6\)\)"),
        (np.zeros((5, 8, 6, 1)), r"X\.reshape\(\(-1, 8, 6\)\)"),
        (np.zeros((5, 7, 6)), "resize"),
        (pd.DataFrame(np.zeros((5, 4))), "resize"),
    ],
    ids=["one", "flat", "channel", "size", "frame"],
)
def test_check_of_another_shape_says_how_to_mend_it(X, fix):
    with pytest.raises(SchemaError, match=rf"expected \(n, 8, 6\) as at fit; .*{fix}"):
        Schema.learn(np.zeros((2, 8, 6))).check(X)


def test_check_of_images_looks_at_the_values():
    schema = Schema.learn(np.zeros((2, 8, 6)))
    with pytest.raises(DataError, match="X / 255"):
        schema.check(np.full((1, 8, 6), 200.0))


# images


def images(value, dtype=np.float64):
    X = np.zeros((4, 5, 6), dtype)
    X[2, 1, 1] = value
    return X


@pytest.mark.parametrize("X", [images(1.0), images(0.5, np.float16), images(255, np.uint8)])
def test_good_images(X):
    check_images(X)
    check_images(np.repeat(X[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (images(np.nan), "1 of 4 images hold NaN or infinite pixels, the first is image 2"),
        (images(np.inf), "1 of 4 images hold NaN or infinite pixels, the first is image 2"),
        (images(-np.inf, np.float32), "the first is image 2"),
        (images(255.0), r"values from 0 to 255, expected \[0, 1\]; divide .*X / 255 for 8 bits"),
        (images(1000.0), r"by the same constant at fit and after .X / 255 for 8 bits"),
        (images(-1.0), r"two constants, the same at fit and after: \(X - LOW\)"),
        (images(200, np.int64), r"dtype int64, expected uint8 .*X\.astype\('uint8'\)"),
        (images(4000, np.uint16), r"dtype uint16.*use X / 65535, the same at fit and after"),
        (images(-5, np.int16), r"dtype int16.*X / 65535 for values of 16 bits"),
        (images(True, bool), r"dtype bool.*X\.astype\('uint8'\) \* 255"),
        (images("a", object), "dtype object"),
        (np.zeros((0, 5, 6)), "got no images"),
        (np.zeros((4, 0, 6)), "got no images"),
        (np.zeros((4, 3, 32, 32)), r"channels first.*X\.transpose\(0, 2, 3, 1\)"),
        (np.zeros((4, 1, 8, 8)), "channels first"),
    ],
)
def test_bad_images(X, message):
    with pytest.raises(DataError, match=message):
        check_images(X)


# tables


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, np.float32, np.float64, bool])
def test_good_tables(dtype):
    X = np.ones((3, 2), dtype)
    assert check_table(X) is X


def test_finite_values_whose_sum_is_not():
    X = np.full((3, 2), 1.7e308)
    assert check_table(X) is X


def test_missing_values_are_allowed():
    X = np.array([[1.0, np.nan], [np.nan, 2.0]])
    assert check_table(X) is X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.array([[np.nan, -np.inf], [np.inf, 1]]),
            "infinite values in 2 of 4 cells, the first in column 1, row 0, counting from 0",
        ),
        (np.zeros((0, 3)), "got no values"),
        (np.zeros((3, 0)), "got no values"),
        (np.zeros(3), r"shape \(3,\), expected \(n, m\)"),
        (np.zeros((2, 2, 2, 2, 2)), r"expected \(n, m\)"),
        (np.array([["1", "2"]]), "dtype <U1, expected real numbers"),
        (np.array([[1j]]), "dtype complex128"),
        (np.array([[None]]), "dtype object"),
    ],
)
def test_bad_tables(X, message):
    with pytest.raises(DataError, match=message):
        check_table(X)
    if X.dtype.kind == "U":  # a table, whose text is read as any other
        assert [column.type for column in Schema.learn(X).types] == ["number", "number"]
    elif X.ndim == 2:
        with pytest.raises(DataError, match=message):
            Schema.learn(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (TABLE.assign(b=[1.0, -np.inf]), "the value is -inf in column 'b', row 1, counting from 0"),
        (TABLE.assign(b=["1", "inf"]), "the value is inf in column 'b', row 1"),
        (TABLE.assign(b=[1j, 2j]), r"column 'b' holds complex128 .*X\.drop\(columns='b'\)"),
        (TABLE.assign(b=[[1], [2]]), "column 'b' holds list values"),
        (TABLE.set_axis(["a", "a"], axis=1), "more than one column is called 'a'"),
        (TABLE.iloc[:0], "got no values"),
        (TABLE[[]], "got no values"),
    ],
)
def test_bad_frames(X, message):
    with pytest.raises(DataError, match=message):
        Schema.learn(X)


# tables of other columns than numbers


def test_learn_a_mixed_table():
    schema = Schema.learn(MIXED)
    assert [column.type for column in schema.types] == ["number", "category", "date", "boolean"]
    assert schema.types[1].categories == ("bolt", "nut")
    assert (schema.minimum, schema.maximum) == (1.5, 2.5)
    assert (schema.n_features, schema.dtype) == (4, "float64")


def test_a_table_without_any_number_has_a_range_that_json_can_hold():
    schema = Schema.learn(MIXED[["kind"]])
    assert (schema.minimum, schema.maximum) == (0, 0)


def test_check_gives_numbers_for_every_type():
    may = pd.Timestamp("2024-05-17").timestamp()
    expected = [
        [1.5, 1, may, 1],
        [np.nan, 0, np.nan, 0],
        [2.5, np.nan, may + 30.5 * 3600, 1],
    ]
    schema = Schema.learn(MIXED)
    np.testing.assert_array_equal(schema.check(MIXED[["new", "sold", "kind", "width"]]), expected)
    np.testing.assert_array_equal(schema.check(MIXED.to_numpy()), expected)
    np.testing.assert_array_equal(schema.check(schema.check(MIXED)), expected)


def test_a_row_that_misses_everything_is_checked():
    nothing = pd.DataFrame({name: [None] for name in MIXED})
    assert np.isnan(Schema.learn(MIXED).check(nothing)).all()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (str.upper, "'NUT', 'BOLT' .*differ in case or spaces alone"),
        (lambda one: f" {one}", "' nut', ' bolt' .*differ in case or spaces alone"),
        (
            lambda one: one + "s",
            "'nuts', 'bolts' .at fit 'bolt', 'nut'.; see that they are written",
        ),
    ],
)
def test_a_column_of_categories_never_seen_is_warned_of(written, message):
    kinds = pd.DataFrame({"kind": ["nut", "bolt"] * 10})
    schema = Schema.learn(kinds)
    other = kinds.assign(kind=kinds["kind"].map(written))
    with pytest.warns(DataWarning, match=message):
        assert (schema.check(other) == 2).all()
    schema.check(other[:5])  # of few rows nothing is said
    kinds.loc[:8, "kind"] = "rivet"  # nor of less than half, which errors are raised for here
    schema.check(kinds)


@pytest.mark.parametrize(
    ("written", "of_classes"),
    [({"F": "f", "M": "m"}, False), ({"F": "F ", "M": " M"}, True), ({"F": "x", "M": "y"}, False)],
)
def test_single_letters_look_alike_as_categories_and_not_as_classes(written, of_classes):
    """A column of letters is warned of in other letters; classes "f" and "F" may be two."""
    letters = pd.DataFrame({"sex": ["F", "M"] * 10})
    with pytest.warns(DataWarning) as warned:
        Schema.learn(letters).check(letters.replace(written))
    alike = "differ in case or spaces alone" in str(warned[0].message)
    assert alike == (written["F"] != "x")
    assert (appearance("F") == appearance(written["F"])) == of_classes


def test_numbers_that_stand_for_no_category_are_refused():
    schema = Schema.learn(MIXED)
    values = schema.check(MIXED)
    values[1, 1] = 2  # one never seen
    assert schema.check(values)[1, 1] == 2
    values[2, 1] = 3
    with pytest.raises(SchemaError, match="'kind' is a category and the array holds 3 in row 2"):
        schema.check(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"width": ["1", "x", "2"]},
            r"column 'width' holds (str|object) values \('x' in row 1.*expected a number as at fit",
        ),
        ({"width": MIXED["sold"]}, r"'width' holds datetime64.*2024-05-17.*expected a number"),
        ({"kind": [7, 8, 9]}, "'kind' holds int64 values .7 in row 0.*such as 'bolt', 'nut'"),
        ({"kind": MIXED["sold"]}, "'kind' holds datetime64"),
        ({"kind": MIXED["new"]}, "'kind' holds bool"),
        ({"sold": [1.0, 2.0, 3.0]}, "'sold' holds float64 values .1.0 in row 0.*expected a date"),
        ({"sold": ["2024-05-17", "soon", None]}, "'soon' in row 1"),
        ({"new": [1, 0, 2]}, "'new' holds int64 values .2 in row 2.*expected true or false"),
        ({"new": ["true", None, "perhaps"]}, "'perhaps' in row 2"),
        ({"width": [1.0, [1], 2.0]}, r"'width' holds object values \(\[1\] in row 1.*a number"),
        ({"sold": [None, None, {"day": 1}]}, "'sold' holds object values .*in row 2.*a date"),
        ({"width": [1j, 2.0, 3.0]}, "'width' holds complex128 values .* expected a number"),
        ({"new": [1 + 0j, 0j, None]}, "'new' holds .* expected true or false"),
    ],
)
def test_a_column_of_another_type_is_named_with_its_first_row(change, message):
    with pytest.raises(SchemaError, match=message):
        Schema.learn(MIXED).check(MIXED.assign(**change))


def test_infinity_is_named_when_checking():
    with pytest.raises(DataError, match="the value is inf in column 'width', row 2"):
        Schema.learn(MIXED).check(MIXED.assign(width=[0, 1, np.inf]))


# the scale and the axes of images are those at fit


def mask(dtype):
    X = np.zeros((6, 8, 6), dtype)
    X[::2, 2:5, 1:4] = 1
    return X


FULL = np.random.default_rng(0).integers(0, 256, (6, 8, 6), dtype=np.uint8)


def test_bytes_of_0_and_1_are_refused_where_the_fit_was_on_floats_each_by_itself():
    schema = Schema.learn(mask(np.float32))
    X = np.concatenate([FULL, mask(np.uint8)])
    for batch, first in [(X, 6), (X[6:7], 0)]:
        with pytest.raises(DataError, match=rf"hold only 0 and 1 of 0..255.*image {first}.*X\.ast"):
            schema.check(batch)
    assert schema.check(FULL) is FULL
    schema.check(mask(np.uint8).astype("float32"))


def test_bytes_of_0_and_1_warn_where_the_fit_was_on_0_to_255():
    schema = Schema.learn(FULL)
    with pytest.warns(UserWarning, match=r"are 0 to 1, those at fit 0 to 255.*use X \* 255"):
        schema.check(mask(np.uint8))
    schema.check(mask(np.uint8) * 255)
    schema.check(mask(np.float64))


@pytest.mark.parametrize("X", [mask(np.uint8) * 255, mask(np.float32)], ids=["bytes", "floats"])
def test_a_fit_on_bytes_of_0_and_1_refuses_a_larger_scale(X):
    with pytest.raises(DataError, match=r"pixels of up to 255, expected 0 to 1 as at fit"):
        Schema.learn(mask(np.uint8)).check(X)
    Schema.learn(mask(np.uint8)).check(mask(np.uint8))


@pytest.mark.parametrize(
    "X", [FULL // 16, FULL / 255**2, FULL[:1] // 64, FULL / 65535], ids=lambda X: str(X.dtype)
)
@pytest.mark.parametrize("fitted", [FULL, FULL / 255], ids=["bytes", "floats"])
def test_a_small_part_of_the_range_at_fit_warns_and_is_not_refused(fitted, X):
    with pytest.warns(UserWarning, match="dark or of low contrast, or on another scale"):
        np.testing.assert_array_equal(Schema.learn(fitted).check(X), X)


def test_black_images_are_black_on_every_scale():
    for fitted in (FULL, FULL / 255, mask(np.float32)):
        Schema.learn(fitted).check(np.zeros((1, 8, 6), np.uint8))
        Schema.learn(fitted).check(np.zeros((1, 8, 6), np.float32))


COLOURS = np.arange(2 * 20 * 24 * 3).reshape(2, 20, 24, 3) / 3000
LOOSE = np.arange(2 * 20 * 24).reshape(2, 20, 24) / 1000


@pytest.mark.parametrize(
    ("asked", "fitted"),
    [
        (COLOURS.transpose(0, 3, 1, 2), COLOURS),
        (COLOURS.transpose(1, 2, 3, 0), COLOURS),
        (COLOURS.transpose(0, 2, 1, 3), COLOURS),
        (COLOURS.transpose(0, 3, 2, 1), COLOURS),
        (LOOSE.transpose(0, 2, 1), LOOSE),
        (COLOURS.reshape(2, -1), COLOURS),
        (LOOSE[:, None], LOOSE),
        (LOOSE[..., None], LOOSE),
        (LOOSE, LOOSE[..., None]),
        (COLOURS[:1].transpose(0, 3, 1, 2)[0], COLOURS[:1]),
        (COLOURS[0], COLOURS[:1]),
        (LOOSE[0], LOOSE[:1]),
        (LOOSE[0].ravel(), LOOSE[:1]),
    ],
    ids=lambda X: "x".join(map(str, X.shape)),
)
def test_the_call_named_for_other_axes_gives_the_images_of_fit(asked, fitted):
    with pytest.raises(SchemaError) as caught:
        Schema.learn(fitted).check(asked)
    call = str(caught.value).rpartition(": ")[2].partition(", of channels")[0]
    call = call if call.startswith("X") else str(caught.value).rpartition(", ")[2]
    np.testing.assert_array_equal(eval(call, {"X": asked}), fitted)


def test_flat_channels_first_are_named_too():
    flat = COLOURS.transpose(0, 3, 1, 2).reshape(2, -1)
    with pytest.raises(SchemaError) as caught:
        Schema.learn(COLOURS).check(flat)
    call = str(caught.value).rpartition("of channels first ")[2]
    np.testing.assert_array_equal(eval(call, {"X": flat}), COLOURS)


@pytest.mark.parametrize(
    ("asked", "fitted", "fix"),
    [
        (COLOURS, LOOSE, r"those at fit are grey: .*X @ \[0\.299, 0\.587, 0\.114\]"),
        (LOOSE, COLOURS, r"have 3 channels: np\.repeat\(X\[\.\.\., None\], 3, axis=-1\)"),
        (np.zeros((2, 20, 24, 4)), COLOURS, r"transparency.*X\[\.\.\., :3\]"),
        (np.zeros((2, 28, 28)), LOOSE, r"load\(X, resize=\(20, 24\)\)\.X.*--resize 20x24"),
        (np.zeros((2, 28, 28, 3)), COLOURS, r"resize=\(20, 24\)"),
    ],
    ids=["colour", "grey", "transparent", "size", "size of colour"],
)
def test_channels_and_sizes_unlike_those_at_fit_are_named(asked, fitted, fix):
    with pytest.raises(SchemaError, match=fix):
        Schema.learn(fitted).check(asked)


def test_windows_with_their_axes_swapped():
    schema = Schema.learn(LOOSE, "series")
    with pytest.raises(SchemaError, match=r"X\.transpose\(0, 2, 1\)"):
        schema.check(LOOSE.transpose(0, 2, 1))


def test_pixels_beyond_one_by_rounding_are_to_be_clipped():
    X = np.random.default_rng(0).random((6, 4, 4)).astype(np.float32)
    X[2, 1, 1] = np.float32(1.0000001)
    with pytest.raises(DataError, match=r"rounding has put them outside: np.clip\(X, 0, 1\)"):
        Schema.learn(X)
    Schema.learn(np.clip(X, 0, 1))
    X[2, 1, 1] = 1.5
    with pytest.raises(DataError, match="divide them by the same constant"):
        Schema.learn(X)


def test_a_dataframe_of_pixels_is_told_what_reshapes_a_dataframe():
    schema = Schema.learn(np.random.default_rng(0).random((6, 4, 4)))
    X = pd.DataFrame(np.random.default_rng(1).random((5, 16)))
    with pytest.raises(SchemaError, match="got a DataFrame of shape") as caught:
        schema.check(X)
    call = str(caught.value).rpartition("fits: ")[2]
    assert schema.check(eval(call, {"X": X})).shape == (5, 4, 4)

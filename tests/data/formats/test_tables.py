import datetime
import gzip
import re
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from isthmus import load
from isthmus.data import Schema
from isthmus.data.formats import dataset_from_frame, load_table, read_csv_file
from isthmus.data.preprocessing import learn_preprocessor
from isthmus.errors import DataError, DataWarning, SchemaError

FRAME = pd.DataFrame(
    {"width": [1.5, 2.0, -3e-5], "count": [1, 2, 3], "kind": ["nut", "bolt", "nut"]}
)
TEXT = "width,count,kind\n1.5,1,nut\n2.0,2,bolt\n-3e-5,3,nut\n"


@pytest.fixture
def csv(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def same_as_frame(data):
    pd.testing.assert_frame_equal(data.X, FRAME[["width", "count"]])
    assert data.y.tolist() == ["nut", "bolt", "nut"]
    assert data.class_names == ("bolt", "nut")


# CSV that is fine


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("\n"),
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        "\n" + TEXT.replace("\n", "\n\n"),
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        TEXT.replace("width", '"width"').replace("1.5", '"1.5"'),
        TEXT.replace(",count", ", count"),
        "," + TEXT.replace("\n1.5", "\n0,1.5").replace("\n2.0", "\n1,2.0").replace("\n-", "\n2,-"),
        TEXT.replace("\n", ",\n"),
    ],
    ids=[
        "plain",
        "no last newline",
        "windows",
        "byte order mark",
        "blank lines",
        "semicolons",
        "tabs",
        "quotes",
        "space in header",
        "index of pandas",
        "comma at the end",
    ],
)
def test_csv(csv, text):
    same_as_frame(load_table(csv(text), label="kind"))


def test_csv_gzipped_whatever_it_is_called(csv):
    same_as_frame(load_table(csv(gzip.compress(TEXT.encode()), "data.csv.gz"), label="kind"))
    same_as_frame(load_table(csv(gzip.compress(TEXT.encode()), "data.csv"), label="kind"))


def test_csv_without_label(csv):
    data = load_table(csv("a,b\n1,2\n3,4\n"))
    assert data.y is None
    assert data.name == "data.csv"
    assert data.schema.columns == ("a", "b")
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])


def test_csv_against_pandas(csv):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 5)) * 10.0 ** rng.integers(-9, 9, 5))
    path = csv(frame.to_csv(index=False))
    np.testing.assert_array_equal(load_table(path).X, frame)


def test_types_are_told_from_the_whole_of_a_long_file(csv):
    n = 300_000
    lines = [f"{i},{i % 7},{i % 2}" for i in range(n)]
    lines[-1] = "0.5,6,yes"
    path = csv("a,b,kind\n" + "\n".join(lines))
    assert path.stat().st_size > 2**21
    data = load_table(path, label="kind")
    assert data.X.dtypes.tolist() == [np.float64, np.int64]
    assert data.X.iloc[-1].tolist() == [0.5, 6]
    assert data.y[[0, -1]].tolist() == ["0", "yes"]


def test_text_at_the_end_of_a_long_file_is_named(csv):
    path = csv("a,b\n" + "1,2\n" * 300_000 + "3,oops\n")
    with pytest.raises(DataError, match=r"'b'.*'oops' in row 300000, .*\(line 300002 of the"):
        load_table(path)


def test_wide_file_and_numbered_columns(csv):
    frame = pd.DataFrame(np.arange(2 * 784).reshape(2, 784))
    assert load_table(csv(frame.to_csv(index=False))).X.shape == (2, 784)


def test_types_of_a_csv_against_pandas(csv):
    text = (
        "flag,day,time,pause,kind,gap\n"
        "true,2024-05-17,2024-05-17 06:30:00.5,00:01:30,nut,1\n"
        "false,2024-05-18,2024-05-18T07:00:00,00:00:10,bolt,\n"
        ",,,,,NA\n"
    )
    data = load_table(csv(text))
    types = ["boolean", "date", "date", "number", "category", "number"]
    assert [column.type for column in data.schema.types] == types
    assert data.X["flag"].tolist() == [True, False, pd.NA]
    expected = pd.to_datetime(["2024-05-17", "2024-05-18", None])
    pd.testing.assert_index_equal(pd.Index(data.X["day"]), expected, check_names=False, exact=False)
    times = ["2024-05-17 06:30:00.500", "2024-05-18 07:00:00.000", None]
    assert (data.X["time"].dropna() == pd.to_datetime(times).dropna()).all()
    np.testing.assert_array_equal(data.X["pause"], [90, 10, np.nan])
    assert data.X["kind"].tolist()[:2] == ["nut", "bolt"]
    assert pd.isna(data.X["kind"].iloc[2])
    np.testing.assert_array_equal(data.X["gap"], [1, np.nan, np.nan])


def test_dates_of_many_spellings_are_dates(csv):
    data = load_table(csv("day\n2024-05-17\n2024-05-17T12:00Z\n2024-05-18 00:00+02:00\n"))
    got = data.schema.check(data.X)[:, 0] / 3600
    np.testing.assert_array_equal(got - got[0], [0, 12, 22])


@pytest.mark.parametrize("cells", [["2024", "2025"], ["20240517", "20240518"]])
def test_numbers_that_could_be_dates_are_numbers(csv, cells):
    data = load_table(csv("day\n" + "\n".join(cells) + "\n"))
    assert data.schema.types[0].type == "number"


@pytest.mark.parametrize("cells", [["today", "now"], ["1/2", "3/4", "v1.2"], ["12", "a", "b"]])
def test_other_text_is_a_category(csv, cells):
    data = load_table(csv("a\n" + "\n".join(cells) + "\n"))
    assert data.schema.types[0].categories == tuple(sorted(cells))
    assert data.X["a"].tolist() == cells


# labels


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", "", "b"], ["a", None, "b"]),
        (["1", "0", "-1"], [1, 0, -1]),
        (["1", "", "0"], [1.0, np.nan, 0.0]),
        (["1", "x", "0"], ["1", "x", "0"]),
        (["true", "false", ""], [True, False, None]),
    ],
    ids=str,
)
def test_labels_of_any_type(csv, cells, expected):
    text = "x,y\n" + "".join(f"1,{cell}\n" for cell in cells)
    got = load_table(csv(text), label="y").y
    assert got.dtype.kind in "iO" or (got.dtype == np.float64)
    np.testing.assert_array_equal(got, np.array(expected, got.dtype))


def test_unknown_label_lists_near_miss_and_columns(csv):
    with pytest.raises(DataError, match=r"no column 'kin'; did you mean 'kind'\? it has width, co"):
        load_table(csv(TEXT), label="kin")
    wide = ",".join(f"c{i}" for i in range(50))
    with pytest.raises(DataError, match=r"no column 'zzz'; it has c0, c1, .*, c19 and 30 more$"):
        load_table(csv(f"{wide}\n{wide.replace('c', '1')}\n"), label="zzz")


def test_nothing_but_the_label(csv):
    with pytest.raises(DataError, match="no columns of features"):
        load_table(csv("kind\na\nb\n"), label="kind")


# values that are not numbers


def test_text_among_numbers_names_column_row_line_and_value(csv):
    text = 'a,b\n\n1,"2"\n3,4\n5,x?\n6,y?\n'
    message = (
        r"'b' of .*data\.csv holds 'x\?' in row 2, counting from 0 \(line 5 of the file\); "
        r"2 such cells in this column \(.x\?., .y\?.\), expected"
    )
    with pytest.raises(DataError, match=message):
        load_table(csv(text))


def test_line_numbers_count_line_breaks_inside_cells(csv):
    text = 'kind,b\n"two\nlines",1\nplain,x\nplain,2\n'
    with pytest.raises(DataError, match=r"'x' in row 1, counting from 0 \(line 4 of the file\)"):
        load_table(csv(text), label="kind")


def test_text_beside_the_label_is_kept(csv):
    text = "a,site,day,kind\n1,x,2020-01-01,nut\n2,y,2020-01-02,nut\n"
    data = load_table(csv(text), label="kind")
    assert list(data.X.columns) == ["a", "site", "day"]
    assert data.y.tolist() == ["nut", "nut"]
    assert repr(data) == "Dataset('data.csv', 2 rows of 3 columns, 1 classes)"


def test_one_bad_date_is_named(csv):
    with pytest.raises(DataError, match=r"'day' .*'soon' in row 2, .*\(line 4 .*expected a date"):
        load_table(csv("day\n2024-05-17\n2024-05-18\nsoon\n"))


# A column in another way of writing, the options that read it, and what it then holds.
OTHER_MARKS = {
    "decimal comma": (["0,1", "3", "12,75"], {"decimal": ","}, [0.1, 3, 12.75]),
    "three decimals": (["0,126", "1,203", "-0,025"], {"decimal": ","}, [0.126, 1.203, -0.025]),
    "thousands": (["1,268", "317", "1,000,000"], {"thousands": ","}, [1268, 317, 1e6]),
    "both": (["1.268,5", "-3,1", "2"], {"decimal": ",", "thousands": "."}, [1268.5, -3.1, 2]),
    "blanks": (["1 268", "3", "2"], {"thousands": " "}, [1268, 3, 2]),
    "day first": (["17.05.2024", "1.6.2024"], {"date_format": "%d.%m.%Y"}, [19860, 19875]),
    "month first": (["5/17/2024", "6/1/2024"], {"date_format": "%m/%d/%Y"}, [19860, 19875]),
    "year first": (["2024/05/17", "2024/06/01"], {"date_format": "%Y/%m/%d"}, [19860, 19875]),
    "minutes": (["17.05.2024 12:00"], {"date_format": "%d.%m.%Y %H:%M"}, [19860.5]),
    "per cent": (["12%", "0.5 %", "7"], {"unit": ["%"]}, [12, 0.5, 7]),
    "per cent with commas": (["12,5%", "7 %"], {"unit": ["%"], "decimal": ","}, [12.5, 7]),
    "dollars": (["$1,268.50", "-$3", "$2"], {"unit": ["$"], "thousands": ","}, [1268.5, -3, 2]),
    "euros": (
        ["1.268,50 €", "3 €"],
        {"unit": ["€"], "decimal": ",", "thousands": "."},
        [1268.5, 3],
    ),
    "currencies": (["USD 5", "7.5 EUR"], {"unit": ["EUR", "USD"]}, [5, 7.5]),
    "month in words": (["17 May 2024", "1 June 2024"], {"date_format": "%d %B %Y"}, [19860, 19875]),
    "month first in words": (
        ["May 17, 2024", "Jun 1, 2024"],
        {"date_format": "%b %d, %Y"},
        [19860, 19875],
    ),
    "weekday": (
        ["Fri, 17 May 2024 12:00"],
        {"date_format": "%a, %d %b %Y %H:%M"},
        [19860.5],
    ),
    "time and fraction": (
        ["17.05.2024 12:00:00,500"],
        {"date_format": "%d.%m.%Y %H:%M:%S,%f"},
        [19860.5 + 0.5 / 86400],
    ),
    "compact": (["20240517T120000"], {"date_format": "%Y%m%dT%H%M%S"}, [19860.5]),
    "year and month": (["2024-05", "2024-06"], {"date_format": "%Y-%m"}, [19844, 19875]),
    "two halves of a day": (
        ["10:30 AM", "1:15 PM"],
        {"date_format": "%I:%M %p"},
        [-25567 + 10.5 / 24, -25567 + 13.25 / 24],
    ),
    "exponent": (["1,5E+03", "2"], {"decimal": ","}, [1500, 2]),
    "no-break spaces": (["1\u00a0268", "3", "\u22122"], {"thousands": " "}, [1268, 3, -2]),
    "thin spaces": (
        ["1\u202f268,5", "12\u2009000"],
        {"decimal": ",", "thousands": " "},
        [1268.5, 12000],
    ),
    "apostrophes": (["1'268.50", "3"], {"thousands": "'"}, [1268.5, 3]),
    "raised apostrophes": (["1\u2019268.50", "3"], {"thousands": "'"}, [1268.5, 3]),
    "india": (["1,00,268", "317"], {"thousands": ","}, [100268, 317]),
    "per cent behind a space": (["12,5\u00a0%", "7 %"], {"unit": ["%"], "decimal": ","}, [12.5, 7]),
    "milliseconds": (["12ms", "7.5ms"], {"unit": ["ms"]}, [12, 7.5]),
    "kilograms": (["5 kg", "1,268 kg"], {"unit": ["kg"], "thousands": ","}, [5, 1268]),
    "speed": (["5 km/h", "7,5 km/h"], {"unit": ["km/h"], "decimal": ","}, [5, 7.5]),
    "days": (["1 day", "12 days"], {"unit": ["day", "days"]}, [1, 12]),
    "francs": (["Fr. 5.50", "Fr. 1'268"], {"unit": ["Fr."], "thousands": "'"}, [5.5, 1268]),
    "offset": (
        ["17.05.2024 14:00 +0200", "17.05.2024 12:00 +0000"],
        {"date_format": "%d.%m.%Y %H:%M %z"},
        [19860.5, 19860.5],
    ),
    "factor": (["1.5x", "2x"], {"unit": ["x"]}, [1.5, 2]),
    "two digits": (["17-May-24", "01-jun-24"], {"date_format": "%d-%b-%y"}, [19860, 19875]),
}


@pytest.mark.parametrize("name", OTHER_MARKS)
def test_numbers_and_dates_in_another_way_of_writing_name_the_option_that_reads_them(csv, name):
    cells, options, expected = OTHER_MARKS[name]
    # 4 % of the cells are a mistake; some are missing.
    frame = pd.DataFrame({"a": [*np.resize(cells, 96), *["?"] * 4, None], "b": 1})
    path = csv(frame.to_csv(index=False))
    asked = ", ".join(f"{option}={value!r}" for option, value in options.items())
    with pytest.raises(DataError, match=re.escape(f"read the file with {asked}")):
        load(path)
    with pytest.raises(DataError, match=re.escape(asked)) as caught:
        load(frame)
    call = re.search(r"convert it, (pd\..*\)), or write it to a CSV file", str(caught.value))[1]
    converted = eval(call, {"pd": pd, "X": pd.DataFrame({"a": cells})})
    if "date_format" in options:
        zone = getattr(converted.dtype, "tz", None) and "UTC"
        converted = (converted - pd.Timestamp(0, tz=zone)) / pd.Timedelta(1, "D")
    np.testing.assert_allclose(converted, expected)
    data = load(path, **options, na=["?"])
    values = data.schema.check(data.X)[:, 0]
    scale = 86400 if "date_format" in options else 1
    np.testing.assert_allclose(values[: len(cells)], np.multiply(expected, scale))
    assert np.isnan(values[96:]).all()
    with pytest.warns(UserWarning, match="applies to none of its columns"):
        assert load(path, category=["a"], **options).schema.types[0].type == "category"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["100", "(250)", "(75)"], r"write \(100\) as -100"),
        (["$(250)", "($75.50)"], r"write \(100\) as -100"),
        (["100-", "75,50-"], "write 100- as -100"),
        (["\u2013100", "\u2013250"], "write a hyphen"),
        (["<0.5", "<0.25", "7"], "limits such as <0.5"),
        (["25:10", "103:45:10"], "write them in seconds"),
        (["48°12'30\"N", "7°2'1\"S"], "angles in degrees"),
        (["2024-Q1", "2024-Q2"], "quarters or weeks"),
        (["17 mai 2024", "1 juin 2024", "3 août 2024"], "a word for the month"),
        (["17. Dezember 2024", "1. März 2024"], "a word for the month"),
        (["17 de mayo de 2024", "1 de enero de 2024"], "a word for the month"),
        (["17-Okt-24 12:30", "1-Dez-24 9:00"], "a word for the month"),
        (["2024-02-30", "2024-02-31"], "dates that no calendar has"),
        (["1.5k", "2k", "900"], "write 1.5k as 1500"),
        (["5 kg", "300 g"], r"several units \(g, kg\)"),
        (["May-24", "Jun-24"], "without a year"),
        (["'1.5'", "'2'"], "numbers in quotes"),
        (['="1.5"', '="2"'], "numbers in quotes"),
        (["[1, 2]", "[3, 4]"], "several numbers in one cell"),
        (["1+2j", "3.5-1j"], "complex numbers"),
        (["100,00 S", "50,00 H"], "a minus before"),
        (["\u0661\u0662", "\u0663"], "the digits 0 to 9"),
        (["17.05.2024 12:30 CEST", "18.05.2024 12:30 CEST"], "write its offset"),
        (["-", "-", "-", "7", "8.5"], r"marks for missing values in most rows.*na= \(on"),
        (["None", "None", "7", "n.a.", "8.5"], "marks for missing values in most rows"),
    ],
)
def test_what_looks_like_numbers_or_dates_and_no_option_reads_is_refused(csv, cells, message):
    frame = pd.DataFrame({"a": [*np.resize(cells, 96), *["?"] * 4, None], "b": 1})
    for source in (csv(frame.to_csv(index=False)), frame):
        with pytest.raises(DataError, match=f"'a' of .*{message}"):
            load(source)
        assert load(source, category=["a"]).schema.types[0].type == "category"


@pytest.mark.parametrize(
    "cells",
    [
        ["12-ABC-34", "77-XYZ-99"],
        ["12A", "3B", "7C"],
        ["4WD", "2WD"],
        ["4K", "8K"],
        ["10-20", "20-30", "30-40"],
        ["3 door", "5 door"],
        ["16:9", "4:3"],
        ["7th", "8th"],
        ["1st Street", "2 of 9"],
        ["<=50K", ">50K"],
        ["<10", ">10"],
        ["1234-12", "1235-11"],
        [f"{at:04}x" for at in range(9, 21)],
        ["0012A", "0230A", "1200A", *(f"{at}B" for at in range(1000, 1010))],
        ["2024-001", "2024-002"],
        ["18-25", "26-35", "65+"],
        ["A+", "B-"],
        ["?", "b"],
        ["10.0.0.1", "192.168.1.20"],
        ["192.168.178.101", "192.168.178.102"],
        ["10.0.0.1", "192.168.1.20", "-"],
        ["1.2.3", "1.2.10", "2.0.0"],
        ["555.010.1234", "555.010.9999"],
        ["123-45-6789", "987-65-4321"],
        ["99-45-77", "88-34-66"],
        ['"(0, 10]"', '"(10, 20]"'],
        ['"[0.5, 1.5)"', '"[1.5, 2.5)"'],
        ["5'11", "6'2"],
        ["01 23 45 67 89", "06 12 34 56 78"],
    ],
)
def test_parts_of_names_are_no_units(csv, cells):
    assert (
        load(csv("a,b\n" + "".join(f"{cell},1\n" for cell in cells * 20))).schema.types[0].type
        == "category"
    )


def test_different_numbers_of_one_width_before_a_letter_are_identifiers(csv):
    # A letter that is the sign of a unit may be one all the same.
    for letter, message in [("x", "looks like a name or free text"), ("V", r"unit=\['V'\]")]:
        path = csv("a,b\n" + "".join(f"{at}{letter},1\n" for at in range(1000, 1012)))
        with pytest.raises(DataError, match=message):
            data = load(path)
            learn_preprocessor(data.schema.check(data.X), data.schema)


def test_one_column_of_several_words_is_read_with_its_name_in_quotes(csv):
    text = "Street Address\n" + "Main 5\nOak 7\n" * 5
    with pytest.raises(DataError, match=r"by spaces.*put the name in the header in double quotes"):
        load(csv(text))
    data = load(csv(text.replace("Street Address", '"Street Address"')))
    assert list(data.X["Street Address"][:2]) == ["Main 5", "Oak 7"]


def test_one_column_of_decimal_commas_is_read_with_a_first_line_that_states_the_separator(csv):
    with pytest.raises(DataError, match="line 2 .* 2 values.*put a first line sep=; above"):
        load(csv("width\n1,5\n2,5\n"), decimal=",")
    data = load(csv("sep=;\nwidth\n1,5\n2,5\n"), decimal=",")
    assert list(data.X["width"]) == [1.5, 2.5]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_never_closed_is_refused_and_inches_are_not(csv, end):
    with pytest.raises(DataError, match="row in line 3 .* not closed"):
        load(csv('a,b\n1,x\n2,"y\n3,z\n4,z' + end))
    assert list(load(csv('a,b\n1,5" pipe\n2,"x\ny"' + end)).X["b"]) == ['5" pipe', "x\ny"]


def test_several_points_part_thousands(csv):
    with pytest.raises(DataError, match=r"read the file with decimal=',', thousands='.' \(on"):
        load(csv("a;b\n1.268.000;1\n2.345;2\n"))


def test_a_minus_sign_is_one(csv):
    assert load(csv("a\n\u22121.5\n2\n")).X["a"].tolist() == [-1.5, 2]
    schema = load(csv("a\n1\n2\n")).schema
    assert schema.check(pd.DataFrame({"a": ["\u22123", "4"]}))[:, 0].tolist() == [-3, 4]


def test_a_date_that_no_calendar_has_is_named(csv):
    days = [f"2024-03-{day:02}" for day in range(1, 29)]
    fault = r"'2024-02-30', which is no date of the calendar, in row 28, .*\(line 30 .* such as"
    with pytest.raises(DataError, match=fault) as caught:
        load(csv("\n".join(["day", *days, "2024-02-30"])))
    assert "date_format" not in str(caught.value)
    schema = load(csv("\n".join(["day", *days]))).schema
    with pytest.raises(
        SchemaError, match=r"'2024-02-30', which is no date of the calendar, in row"
    ):
        load(csv("\n".join(["day", *days, "2024-02-30"])), schema=schema)
    days = ["17.05.2024", "18.05.2024", "31.04.2024"]
    with pytest.raises(
        DataError, match=r"'31.04.2024', which is no date of the calendar, in row 2"
    ):
        load(csv("\n".join(["day", *days])), date_format="%d.%m.%Y")


def test_a_whole_number_that_is_no_date_among_dates_is_named(csv):
    path = csv("day,n\n20240517,5\n20240601,7\n20240230,9\n")
    fault = r"'20240230' in row 2, .*\(line 4 .*no date in the format '%Y%m%d'.*na=\['20240230'\]"
    with pytest.raises(DataError, match=fault):
        load(path, date_format="%Y%m%d")
    assert load(path, date_format="%Y%m%d", na=["20240230"]).X["day"].isna().sum() == 1
    with pytest.warns(UserWarning, match="applies to none of its columns"):
        assert load(path, date_format="%Y%m%d", category=["day"]).schema.types[0].type == "category"


def test_both_formats_are_named_where_day_or_month_may_be_first(csv):
    path = csv("day,n\n01/05/2024,1\n02/06/2024,2\n")
    both = (
        "read the file with date_format='%d/%m/%Y' (on the command line --date-format %d/%m/%Y), "
        "or with date_format='%m/%d/%Y' (on the command line --date-format %m/%d/%Y), whichever"
    )
    with pytest.raises(DataError, match=re.escape(both)):
        load(path)
    for date_format, first in (("%d/%m/%Y", "2024-05-01"), ("%m/%d/%Y", "2024-01-05")):
        assert load(path, date_format=date_format).X["day"][0] == pd.Timestamp(first)
    with pytest.raises(DataError, match=re.escape("format='%d/%m/%Y') (or format='%m/%d/%Y'), or")):
        load(pd.read_csv(path))


def test_names_with_numbers_in_them_stay_categories(csv):
    cells = ["3 door", "5 door", "10%", "high", "May 7", "7 of 9", "A%", "$", "sunday 7", "1/2"]
    path = csv("a,b\n" + "".join(f"{cell},1\n" for cell in cells * 4))
    assert load(path).schema.types[0].type == "category"
    with pytest.raises(DataError, match="got unit='1', expected what stands before or behind"):
        load(path, unit=["1"])
    with pytest.raises(DataError, match="got unit='%', expected a list"):
        load(path, unit="%")


def test_channels_in_another_way_of_writing_name_the_option(csv):
    path = csv("load,heat\n" + "12%,1\n7%,2\n" * 4)
    with pytest.raises(DataError, match=r"expected numbers; read the file with unit=\['%'\]"):
        load(path, kind="series", window=4)
    data = load(path, kind="series", window=4, unit=["%"])
    assert data.X[0, :, 0].tolist() == [12, 7, 12, 7]


@pytest.mark.filterwarnings("ignore:.*thousands=.* applies to none:UserWarning")
def test_a_mark_for_thousands_leaves_dates_and_decimals_alone(csv):
    path = csv("day;price;share\n17.05.2024;1.268,5;1.25\n18.05.2024;-3,1;1.50\n")
    data = load(path, decimal=",", thousands=".", date_format="%d.%m.%Y")
    assert [column.type for column in data.schema.types] == ["date", "number", "number"]
    np.testing.assert_array_equal(data.X["price"], [1268.5, -3.1])
    np.testing.assert_array_equal(data.X["share"], [1.25, 1.5])
    assert data.X["day"].tolist() == [pd.Timestamp("2024-05-17"), pd.Timestamp("2024-05-18")]
    with pytest.raises(DataError, match="read the file with date_format='%d.%m.%Y'"):
        load(path, decimal=",", thousands=".")
    with pytest.raises(DataError, match="read the file with decimal=','"):
        load(csv('a,b\n"1,25",1\n"1,50",2\n'), thousands=",")
    with pytest.raises(DataError, match="read the file with decimal=','"):
        load(csv('a,b\n"0,125",1\n"1,500",2\n'), thousands=",")
    with pytest.raises(DataError, match="'1.5' in row 1, .*may be 15 or 1.5 with decimal=','"):
        load(csv("a;b\n1.500;1\n1.5;2\n"), decimal=",", thousands=".")


@pytest.mark.filterwarnings("ignore:.*thousands=.* applies to none:UserWarning")
@pytest.mark.parametrize("options", [{}, {"thousands": "'"}])
def test_dates_without_marks_are_read_in_their_format(csv, options):
    data = load(csv("day,n\n20240517,2024\n20240601,12345\n"), date_format="%Y%m%d", **options)
    assert data.X["day"].tolist() == [pd.Timestamp("2024-05-17"), pd.Timestamp("2024-06-01")]
    assert data.X["n"].tolist() == [2024, 12345]


def test_a_pair_of_numbers_is_no_range_of_rows(csv):
    with pytest.raises(DataError, match=r"got rows=\(0, 1\), expected first:end"):
        load(csv("a\n1\n2\n"), rows=(0, 1))


def test_a_later_file_in_another_way_of_writing_names_the_option(csv):
    schema = load(csv("a;b\n0.5;x\n3;y\n")).schema
    path = csv("a;b\n0,5;x\n3;y\n")
    with pytest.raises(SchemaError, match=r"read the file with decimal=',' \(on the command line"):
        load(path, schema=schema)
    later = load(path, schema=schema, decimal=",")
    np.testing.assert_array_equal(schema.check(later.X), [[0.5, 0], [3, 1]])


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst", ".zip"])
def test_a_compressed_file_is_read(tmp_path, ending):
    path = tmp_path / f"rows.csv{ending}"
    if ending == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(TEXT.encode())
    else:
        FRAME.to_csv(path, index=False)
    same_as_frame(load(path, label="kind"))


@pytest.mark.parametrize("ending", [".jsonl", ".feather", ".xlsx"])
def test_a_table_of_another_format_is_read(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    if ending == ".jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    elif ending == ".feather":
        FRAME.to_feather(path)
    else:
        pytest.importorskip("openpyxl")
        FRAME.to_excel(path, index=False)
    same_as_frame(load(path, label="kind"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=f"cannot read .*rows{ending}"):
        load(path)


def test_of_an_excel_file_the_index_is_left_out_and_other_sheets_are_named(tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "rows.xlsx"
    with pd.ExcelWriter(path) as file:
        FRAME.to_excel(file, sheet_name="first")
        FRAME.to_excel(file, sheet_name="second")
        pd.DataFrame().to_excel(file, sheet_name="empty", index=False)
    with pytest.warns(DataWarning, match="sheet 'first' is read, and not 'second'; save"):
        same_as_frame(load(path, label="kind"))
    fitted = pd.DataFrame({"Unnamed: 0": [0.0, 1.0], "b": [1.0, 2.0]})
    fitted.to_excel(path, index=False)
    assert list(load(path, schema=load(fitted).schema).X) == ["Unnamed: 0", "b"]


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (["a", "b", "a"], "more than one column called 'a'"),
        (["a", "", "b"], "column 2 of .*rows.xlsx has no name; .* index=False"),
        ([5.1, 3, "x"], "first line of .*rows.xlsx holds '5.1', and 'x' as rows below do"),
        ([5.1, 3, 4], "holds numbers where column names belong"),
    ],
)
def test_the_header_of_an_excel_file_is_checked_as_that_of_a_csv_file(tmp_path, csv, header, error):
    openpyxl = pytest.importorskip("openpyxl")
    book, rows = openpyxl.Workbook(), [header, [1, 2, "x"], [4, 5, "y"]]
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "rows.xlsx")
    with pytest.raises(DataError, match=error):
        load(tmp_path / "rows.xlsx")
    with pytest.raises(DataError, match=error.replace("rows.xlsx", "")):
        load(csv("\n".join(",".join(map(str, row)) for row in rows)))


@pytest.mark.parametrize(
    ("cells", "codes"),
    [
        (["01067", "10115", "80331"], True),
        (["01067", "", "80331"], True),
        (["10115", "80331"], False),
        (["01", "12"], False),  # months, and hours
        (["0.1", "007.5"], False),
    ],
)
def test_codes_with_leading_zeros_are_warned_of_at_fit(csv, cells, codes):
    path = csv("code,v\n" + "".join(f"{cell},{at % 3}\n" for at, cell in enumerate(cells)))
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        load(path, schema=load(path).schema)
        load(path, category=["code"])
        load(path, keys=["code"])
        load(path, drop=["code"])
        load(path, columns=["v"])
        read_csv_file(path, fitting=False)
    assert ["--category code" in str(one.message) for one in issued] == codes * [True]


def test_years_as_names_of_columns_are_text_in_every_format(tmp_path, csv):
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({"id": ["x", "y"], 2019: [1, 2], 2020: [3, 4]})
    table.to_excel(tmp_path / "rows.xlsx", index=False)
    loaded = [load(tmp_path / "rows.xlsx"), load(csv(table.to_csv(index=False)))]
    assert [list(one.X) for one in loaded] == 2 * [["id", "2019", "2020"]]


@pytest.mark.parametrize(
    ("cells", "misread"),
    [
        (["754", "1.261", "2.450", "12.300"], True),
        (["754", "-1.261", "2.450", "", "NA", "12.345"], True),
        (["754", *(f"{at}.111" for at in range(1, 31))], True),
        (["754", *(f"{at}.111" for at in range(1, 30))], False),
        (["754.000", "1.261", "2.450", "12.300"], False),  # decimals of a fixed number
        (["1754", "1.261", "2.450", "12.300"], False),
        (["754", "1.261", "0.450", "12.300"], False),
        (["754", "1.261", "2.45", "12.3"], False),
    ],
)
def test_points_that_part_thousands_are_warned_of(csv, cells, misread):
    path = csv("u;v\n" + "".join(f"{cell};1\n" for cell in cells))
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        load(path, schema=load(path).schema)
    texts = [str(one.message) for one in issued]
    assert ["--decimal , --thousands ." in text for text in texts] == 2 * misread * [True]
    if misread:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # also of decimal=",", which no cell needs
            found = load(path, decimal=",", thousands=".").X["u"].dropna()
        whole = [float(cell.replace(".", "")) for cell in cells if cell[-1:].isdigit()]
        assert found.tolist() == whole


@pytest.mark.parametrize(
    ("cells", "misread"),
    [
        (["500", "1.000", "2.500", "1.000"], True),
        (["500", "1.000", "2.5", "1.000"], False),
        (["0.000", "1.000", "1.000", "1.000"], False),
        (["500", "1.000", "2.500", "worn"], False),
    ],
)
def test_points_that_part_thousands_in_labels_are_warned_of(csv, cells, misread):
    path = csv("v,worth\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells)))
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        load(path, label="worth")
    assert ["holds '1.000' beside '500'" in str(one.message) for one in issued] == misread * [True]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_header_among_the_rows_is_refused(tmp_path, form):
    rows = [["kind", " width"], ["nut", 1], ["bolt", 2], ["kind", "width "], ["kind", "width"]]
    if form == "xlsx":
        pytest.importorskip("openpyxl")
        pd.DataFrame(rows).to_excel(tmp_path / "rows.xlsx", header=False, index=False)
    else:
        (tmp_path / "rows.csv").write_text("\n".join(",".join(map(str, one)) for one in rows))
    where = {"csv": r"row 2, counting from 0 \(line 4 of the file\)", "xlsx": "row 2"}[form]
    with pytest.raises(DataError, match=f"stands again in {where}.* and in 1 more.*delete"):
        load(tmp_path / f"rows.{form}")


def test_a_row_that_equals_the_header_in_part_is_data(csv):
    assert load(csv("kind,hue\nkind,red\nnut,hue\n")).X["kind"].tolist() == ["kind", "nut"]
    assert len(load(csv("abnormal\nabnormal\nnormal\n")).X) == 2


@pytest.mark.parametrize(
    ("days", "dates"),
    [
        ([20240101 + 100 * (at % 12) + at for at in range(25)], True),
        ([20240230, *(20240101 + at for at in range(25))], False),  # no such day
        ([20240101 + at % 9 for at in range(25)], False),
        ([20240101 + at for at in range(15)], False),
    ],
)
def test_dates_that_are_written_as_one_number_are_warned_of_at_fit(csv, days, dates):
    path = csv("day,v\n" + "".join(f"{day},{at % 3}\n" for at, day in enumerate(days)))
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        schema = load(path).schema
        load(path, schema=schema)
    assert ["--date-format %Y%m%d" in str(one.message) for one in issued] == dates * [True]
    if dates:
        read = load(path, date_format="%Y%m%d").X["day"]
        assert read.equals(pd.to_datetime(pd.Series(days).astype(str)).astype(read.dtype))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "feather", "polars", "stream"])
def test_large_integers_beside_a_missing_one_are_never_changed(tmp_path, form):
    big = 2**53 + 1
    table = pa.table({"serial": [big, None, 7], "width": [1.0, 2.0, 3.0]})
    path = tmp_path / f"rows.{'parquet' if form == 'stream' else form}"
    if form == "jsonl":
        path.write_text(
            f'{{"serial": {big}, "width": 1}}\n\n{{"width": 2}}\n{{"serial": 7, "width": 3}}\n'
        )
    elif form == "csv":
        path.write_text(f"serial,width\n{big},1\n,2\n7,3\n")
    elif form == "feather":
        pyarrow.feather.write_feather(table, path)
    else:
        pq.write_table(table, path)
    source = pytest.importorskip("polars").from_arrow(table) if form == "polars" else path
    keyed, labelled = (
        load(source, **names, lazy=form == "stream")
        for names in ({"keys": ["serial"]}, {"label": "serial"})
    )
    if form == "stream":
        keys = keyed.read(keyed.chunk_ranges[0], keys=True).keys
        y = labelled.read(labelled.chunk_ranges[0], label=True).y
    else:
        keys, y = keyed.keys, labelled.y
        types = load(source, category=["serial"]).schema.types
        categories = {column.type: column.categories for column in types}["category"]
        assert sorted(map(int, categories)) == [7, big]
    assert keys["serial"].isna().tolist() == [False, True, False]
    assert [str(key) for key in keys["serial"].dropna()] == [str(big), "7"]
    assert y.tolist() == [big, None, 7]


@pytest.mark.filterwarnings("ignore:.*thousands=.* applies to none:UserWarning")
@pytest.mark.parametrize(
    ("cell", "options", "value"),
    [
        (
            "1.500",
            {},
            r"holds '1.500' in row 1, .*\(line 3 of .*1500 or 1.5 .*ds='.'",
        ),
        (
            "1.500",
            {"thousands": "'"},
            "may be 1500 or 1.5 .*; write it with the decimal mark",
        ),
        ("1.500", {"thousands": "."}, 1500),
        ("1.5", {}, 1.5),
        ("0.125", {}, 0.125),
        ("1500", {}, 1500),
    ],
)
def test_a_point_beside_decimal_commas_is_read_only_where_it_means_one_thing(
    csv, cell, options, value
):
    path = csv(f"a;b\n2,5;x\n{cell};y\n")
    if isinstance(value, str):
        with pytest.raises(DataError, match=value):
            load(path, decimal=",", **options)
        rows = csv(f"a;b\n2,5;x\n{cell};y\n" + "1;z\n" * 4)
        with pytest.warns(UserWarning, match="decimal=',' applies to none of its columns"):
            assert load(rows, decimal=",", category=["a"], **options).X["a"][1] == cell
    else:
        assert load(path, decimal=",", **options).X["a"].tolist() == [2.5, value]


def test_cells_that_stand_for_missing_are_found_by_value_among_numbers(csv):
    path = csv("a,b,c\n-999.0,-999,x\n-999,7,-999.0\n3.5,8,-999\n-9.99e2,9,y\n")
    with pytest.warns(UserWarning, match=r"na='\?' applies to none of its cells") as caught:
        data = load(path, na=["-999", "?"])
    assert len(caught) == 1
    assert data.X["a"].isna().tolist() == [True, True, False, True]
    assert data.X["b"].isna().tolist() == [True, False, False, False]
    assert data.X["c"].dropna().tolist() == ["x", "-999.0", "y"]
    assert data.reading_facts() == {"reading": {"applied": {"na": {"-999": 5, "?": 0}}}}
    assert load(csv("a;b\n-999,0;1\n2,5;2\n"), decimal=",", na=["-999"]).X["a"].isna().sum() == 1


def test_an_option_that_applies_to_nothing_is_a_warning(csv):
    path = csv("a,day\n1,2024-05-01\n2,2024-05-02\n")
    for name, option in {"date_format": "%d.%m.%Y", "decimal": ";", "thousands": "'"}.items():
        with pytest.warns(UserWarning, match=f"{name}=.* applies to none of its columns"):
            data = load(path, **{name: option})
        assert data.reading_facts()["reading"]["applied"] == {name: 0}
        # Types are decided for a later file, in which no cell may need the option.
        assert load(path, schema=data.schema, **{name: option}).X["a"].tolist() == [1, 2]
    data = load(csv("a,day\n1,01.05.2024\n"), date_format="%d.%m.%Y")
    assert data.reading_facts()["reading"]["applied"] == {"date_format": 1}


@pytest.mark.parametrize(
    ("cells", "wrong", "options"),
    [
        (["0,5", "1,5"], "k.A.", {"decimal": ","}),
        (["1,500", "2,500"], "x", {"thousands": ","}),
        (["$5", "$1.5"], "free", {"unit": ["$"]}),
        (["0,5 %", "7 %"], "n/v", {"decimal": ",", "unit": ["%"]}),
        (["17.05.2024", "18.05.2024"], "unknown", {"date_format": "%d.%m.%Y"}),
    ],
)
def test_the_cell_that_the_options_do_not_read_is_named(csv, cells, wrong, options):
    def write(*cells):
        return csv("a;b\n" + "".join(f"{cell};{cells[0]}\n" for cell in cells))

    schema = load(write(*cells), **options).schema
    fault = rf"'a'.* holds .*{re.escape(wrong)}' in row 2, .*\(line 4 .*na=\['{re.escape(wrong)}'\]"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the options apply to both columns
        for rows in ([*cells, wrong, cells[0]], [*cells, wrong, wrong]):
            with pytest.raises(DataError, match=fault) as caught:
                load(write(*rows), **options)
            assert "a date such as 17.05" in str(caught.value) or "(read with" in str(caught.value)
            for name in ("decimal", "thousands", "unit", "date_format"):
                assert f"read the file with {name}" not in str(caught.value)
        with pytest.raises(SchemaError, match=fault):
            load(write(*cells, wrong), schema=schema, **options)
        assert load(write(*cells, wrong), na=[wrong], **options).X["a"].isna().sum() == 1
        assert load(write(*cells, *["free"] * 3), **options).schema.types[0].type == "category"
    with pytest.raises(DataError, match="read the file with"):
        load(write(*cells))


@pytest.mark.parametrize("date_format", ["%s", "%Q", "%d.%m.%", "%d%d", "DD.MM.YYYY", "", 5])
def test_a_date_format_that_is_none_is_refused(csv, date_format):
    with pytest.raises(DataError, match=r"got date_format=.*, expected .*strptime; write"):
        load(csv("a\n17.05.2024\n"), date_format=date_format)


def test_names_among_numbers_are_taken_as_such_by_the_option_that_is_named(csv, tmp_path):
    frame = pd.DataFrame({"a b": ["1", "2", "x"], "c": [1.0, 2.0, 3.0]})
    frame.to_parquet(tmp_path / "data.parquet")
    for source in (csv(frame.to_csv(index=False)), tmp_path / "data.parquet", frame):
        with pytest.raises(DataError, match=r"pass category=\['a b'\] .*--category 'a b'\)$"):
            load(source)
        assert load(source, category=["a b"]).schema.types[0].categories == ("1", "2", "x")
    with pytest.raises(DataError, match=r"pass a DataFrame with X\['a b'\].astype\('category'\)$"):
        Schema.learn(frame)


def test_the_reading_that_the_options_do_not_read_is_named(csv):
    path = csv("t;a\n" + "".join(f"{i};{i},5\n" for i in range(6)) + "6;k.A.\n")
    with pytest.raises(DataError, match=r"'k.A.' in row 6, .*decimal=','.*na=\['k.A.'\]"):
        load(path, kind="series", time="t", window=2, decimal=",")


def test_a_label_with_a_decimal_comma_is_text_whatever_stands_beside_it(csv):
    for rows in ("0,5;1,5\n1;2\n", "0,5;1,5\n"):
        assert load(csv("a;y\n" + rows), decimal=",", label="y").y[0] == "1,5"


def test_a_line_that_is_no_json_object_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    for line, text in (("{", "as JSON"), ("[1]", r"holds \[1\], expected an object")):
        path.write_text('{"a": 1}\n' + line)
        with pytest.raises(DataError, match=f"line 2 of .*{text}"):
            load(path)


def test_what_stands_above_the_header_is_left_out(csv):
    data = load(csv("sep=;\n# logger 7\n#\n\na;b\n1;2\n3;4\n"))
    assert data.X["a"].tolist() == [1, 3]
    with pytest.raises(DataError, match=r"line 7 of .* has 1 value, expected 2"):
        load(csv("sep=;\n# logger 7\n#\n\na;b\n1;2\n3\n"))
    # As NumPy's savetxt writes it.
    assert load(csv("# a,b\n1,2\n3,4\n")).X["b"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c\n1 2 3\n4 5 6\n", r"3 columns by spaces, .*; write it again: pd.read_csv\("),
        ("  a   b\n 1.5   2\n 3  4\n", "2 columns by spaces"),
        ('"a" "b"\n"1" 1.5 2\n"2" 2 3\n', "3 columns by spaces"),
        ("a b\n1,5 2,5\n3 4\n", "2 columns by spaces"),
        ("a~b\n1~2\n3~4\n", "2 columns by '~', .*put a first line sep=~ above"),
        ("'a','b'\n'1','2'\n", "header of .* is quoted with single quotes"),
        ("'a'\n'1'\n", "header of .* is quoted with single quotes"),
        ('"a,b"\n"1,2"\n"3,4"\n', "each line of .* is one cell in quotes, .* columns a, b;"),
        ('a,b\n"1;2",5\n"3;4",6\n', "several numbers in one cell"),
    ],
)
def test_columns_parted_or_quoted_in_another_way_are_refused(csv, text, message):
    with pytest.raises(DataError, match=message):
        load(csv(text))


def test_a_header_of_words_is_one_name(csv):
    data = load(csv("full name\nJohn Smith\nAda Lovelace\n"))
    assert list(data.X) == ["full name"]
    assert load(csv("room: heat\n1.5\n2\n")).X["room: heat"].tolist() == [1.5, 2]
    assert load(csv("sep=~\na~b\n1~2\n")).X["b"].tolist() == [2]


def test_the_separator_is_the_one_that_parts_header_and_rows_alike(csv):
    text = '"heat, C";b\n1.5;2\n2.5;3\n'
    assert list(load(csv(text)).X) == ["heat, C", "b"]
    assert list(load(csv(text.replace('"', ""))).X) == ["heat, C", "b"]
    assert list(load(csv("a;x,b\n1,2\n3,4\n")).X) == ["a;x", "b"]
    assert list(load(csv('a,b\n"x,5",2\n')).X) == ["a", "b"]


def test_row_names_of_r_are_left_out(csv):
    assert load(csv('"","a"\n"1",1.5\n"2",2\n')).X["a"].tolist() == [1.5, 2]


def test_an_encoding_that_reads_other_letters_is_refused(csv):
    for encoding in ("utf-16", "utf-16-le"):
        with pytest.raises(DataError, match=f"is ASCII text and not {encoding}; leave encoding="):
            load(csv("a,b\n1,2\n"), encoding=encoding)
    for encoding in ("utf-8", "cp1252"):
        with pytest.raises(DataError, match=f"mark of UTF-16 and is not {encoding}; leave"):
            load(csv("a,b\n1,2\n".encode("utf-16")), encoding=encoding)
    with pytest.warns(UserWarning, match="is UTF-8 text, and is read as cp1252 with other"):
        load(csv("größe,b\n1,2\n"), encoding="cp1252")


def test_other_encodings_are_read_or_asked_for(csv):
    text = "temp °C,b\n1,2\n"
    assert list(load(csv(text.encode("utf-16"))).X) == ["temp °C", "b"]
    with pytest.raises(DataError, match="byte 0xb0 in line 1; .*encoding='cp1252'"):
        load(csv(text.encode("cp1252")))
    assert list(load(csv(text.encode("cp1252")), encoding="cp1252").X) == ["temp °C", "b"]
    with pytest.raises(DataError, match="zero bytes.*encoding='utf-16-le'"):
        load(csv("a,b\n1,2\n".encode("utf-16-le")))
    with pytest.raises(DataError, match="encoding='cp1525', which is unknown"):
        load(csv(text), encoding="cp1525")


def test_rows_are_named_by_their_numbers(csv):
    path = csv("a\n" + "\n".join(map(str, range(10))) + "\n")
    assert load(path, rows="2:5").X["a"].tolist() == [2, 3, 4]
    assert load(path, rows=slice(None, None, 4)).X["a"].tolist() == [0, 4, 8]
    with pytest.raises(DataError, match="got rows='two', expected first:end"):
        load(path, rows="two")
    with pytest.raises(DataError, match="names none of the 10 instances"):
        load(path, rows="10:")


def test_a_long_value_is_shortened(csv):
    with pytest.raises(DataError) as caught:
        load_table(csv("a,b\n1,2\n2," + "x" * 5000))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("cell", ["", "NA", "nan", "null", "#N/A"])
def test_missing_cells_stay_missing(csv, cell):
    data = load_table(csv(f"a,b\n1,2\n3,{cell}\n5,6\n"))
    np.testing.assert_array_equal(data.X, [[1, 2], [3, np.nan], [5, 6]])


def test_an_empty_column_is_read_so_that_new_rows_may_have_one(csv):
    data = load_table(csv("a,b\n1,\n3,\n"))
    assert np.isnan(data.X["b"]).all()


def test_infinite_cells_are_named(csv):
    message = r"the value is -inf in column 'b' of .*data.csv, row 1, .*\(line 3 of the file\), exp"
    with pytest.raises(DataError, match=message):
        load_table(csv("a,b\n1,2\n3,-inf\n"))


# files that are no table


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.csv is empty"),
        ("\n\n", "data.csv is empty"),
        ("\ufeff", "data.csv is empty"),
        ("a,b\n", "holds a header and no rows"),
        ("a,b", "holds a header and no rows"),
        ("a,b,a\n1,2,3\n", "more than one column called 'a'"),
        (
            "a,b\n1,2\n3\n4,5\n6\n1,2,3\n",
            r"line 3 of .* has 1 value, .* others have lines 5, 6 \(3 in all\); mend the lines",
        ),
        ("Sales\n\na,b\n1,2\n3,4\n", "delete the lines above the header, .* to be line 3"),
        ("a,b\n1,2\n3\n", r"line 3 of .*data\.csv has 1 value, expected 2 as in the header"),
        ("a,b\n1,2\n\n3,4,5\n", r"line 4 of .*data\.csv has 3 values, expected 2"),
        ("a,b\n1,2,\n3,4,\n", "line 2 of .* has 3 values, expected 2"),
        ("1.5,2\n3,4\n", "holds numbers where column names belong"),
        ("5,5,5\n1,2,3\n", "holds numbers where column names belong"),
        ("a,,b\n1,2,3\n", "column 2 of .* has no name"),
        (",a\n5,1\n7,2\n", "column 1 of .* has no name; .* index=False"),
        ("5.1,39,x\n1,2,x\n3,4,y\n", "first line of .* holds '5.1', and 'x' as rows below do"),
        ("1,2,2,x\n1,2,3,x\n", "more than one column called '2'.* if these are a row"),
        ("größe,b\n1,2\n".encode("latin-1"), "not UTF-8 text: byte 0xf6 in line 1"),
        ("a,b\n1,2\n3,ü\n".encode("latin-1"), "not UTF-8 text: byte 0xfc in line 3"),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "damaged or incomplete gzip"),
        (b"PK\3\4\xff\xfe\0\0", "damaged or incomplete archive"),
    ],
)
def test_bad_csv(csv, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load_table(csv(content))
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


# Parquet


def test_parquet(tmp_path):
    path = tmp_path / "data.parquet"
    FRAME.to_parquet(path)
    same_as_frame(load_table(path, label="kind"))


def test_parquet_types(tmp_path):
    path = tmp_path / "data.parquet"
    table = pa.table(
        {
            "small": pa.array([1, 2], pa.int8()),
            "single": pa.array([0.5, 1.5], pa.float32()),
            "price": pa.array([Decimal("1.25"), Decimal("2.50")], pa.decimal128(9, 2)),
            "flag": pa.array([True, False]),
            "colour": pa.array(["red", "blue"]).dictionary_encode(),
            "day": pa.array([0, 1], pa.date32()),
            "at": pa.array([0, None], pa.timestamp("us", "Europe/Berlin")),
            "took": pa.array([90, 30], pa.duration("s")),
            "kind": pa.array(["a", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, path)
    data = load_table(path, label="kind")
    types = ["number"] * 3 + ["boolean", "category", "date", "date", "number"]
    assert [column.type for column in data.schema.types] == types
    np.testing.assert_array_equal(
        data.schema.check(data.X),
        [[1, 0.5, 1.25, 1, 1, 0, 0, 90], [2, 1.5, 2.5, 0, 0, 86400, np.nan, 30]],
    )
    assert data.y.tolist() == ["a", None]


def test_the_index_of_a_frame_is_no_feature(tmp_path):
    path = tmp_path / "data.parquet"
    FRAME.set_index(pd.Index(["x", "y", "z"], name="id")).to_parquet(path)
    data = load_table(path, label="kind")
    assert list(data.X.columns) == ["width", "count"]
    assert data.take([2]).X["count"].tolist() == [3]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1.0, float("inf")]}, "inf in column 'a' of .*, row 1, counting from 0"),
        ({"a": [[1, 2], [3, 4]]}, "column 'a' of .* holds ndarray values"),
        ({"a": pa.array([], pa.int64())}, "holds no rows"),
        ({}, "holds no"),
    ],
)
def test_bad_parquet(tmp_path, table, message):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(DataError, match=message):
        load_table(path)


def test_parquet_with_two_columns_of_one_name(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(DataError, match="more than one column called 'a'"):
        load_table(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_of_numbers_are_read_alike_alone_and_beside_text(tmp_path, ending):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(4, 1500)))
    frame = frame.set_axis([f"c{at}" for at in range(1500)], axis=1).assign(c7=range(4))
    path = tmp_path / f"wide.{ending}"

    def read(frame, **options):
        frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
        return load_table(path, **options)

    alone, beside = read(frame), read(frame.assign(hue=["red", "blue", "red", None]))
    pd.testing.assert_frame_equal(alone.X, beside.X[list(frame)])
    assert alone.schema.column_types is None
    assert beside.schema.types[-1].type == "category"
    pd.testing.assert_frame_equal(
        load_table(path, schema=alone.schema).X, alone.X.astype(np.float64)
    )
    with pytest.raises(DataError, match="value is inf in column 'c9'.*, row 2, counting from 0"):
        read(frame.assign(c9=[1.0, 2.0, np.inf, 3.0]))


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1" + b"x" * 50 + b"PAR1"])
def test_damaged_parquet(tmp_path, content):
    path = tmp_path / "data.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*data\.parquet as Parquet"):
        load_table(path)


# DataFrames


def test_frame():
    same_as_frame(dataset_from_frame(FRAME, label="kind"))
    assert list(FRAME.columns) == ["width", "count", "kind"]


def test_numbers_kept_as_objects_or_text_are_numbers():
    frame = pd.DataFrame({"a": np.array([1, 2.5], object), "b": ["3", "4e1"]})
    np.testing.assert_array_equal(dataset_from_frame(frame).X, [[1, 3], [2.5, 40]])


def test_frame_with_columns_that_are_numbers():
    data = dataset_from_frame(pd.DataFrame([[1, 2], [3, 4]]), label="1")
    assert data.y.tolist() == [2, 4]
    assert data.schema.columns == ("0",)


def test_types_of_a_frame():
    frame = pd.DataFrame(
        {
            "kept": pd.Categorical([3, 1]),
            "whole": pd.array([1, None], "Int64"),
            "took": pd.to_timedelta([90, 30], unit="s"),
            "month": pd.period_range("2024-05", periods=2, freq="M"),
            "date": [datetime.date(2024, 5, 17), None],
            "truth": np.array([True, None], object),
            "empty": [None, None],
        }
    )
    data = dataset_from_frame(frame)
    types = ["category", "number", "number", "date", "date", "boolean", "number"]
    assert [column.type for column in data.schema.types] == types
    assert data.schema.types[0].categories == (1, 3)
    may = pd.Timestamp("2024-05-01").timestamp()
    expected = [
        [1, 1, 90, may, may + 16 * 86400, 1, np.nan],
        [0, np.nan, 30, may + 31 * 86400, np.nan, np.nan, np.nan],
    ]
    np.testing.assert_array_equal(data.schema.check(data.X), expected)
    np.testing.assert_array_equal(data.schema.check(frame), expected)


def test_frame_with_an_index_that_repeats():
    frame = pd.DataFrame({"a": ["1", "2"], "b": [3, 4]}, index=[7, 7])
    np.testing.assert_array_equal(dataset_from_frame(frame).X, [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1, "x"]}), "column 'a' of the table holds 'x' in row 1, counting"),
        (pd.DataFrame({"a": [1, np.inf]}), "the value is inf in column 'a' of the table, row 1"),
        (pd.DataFrame({"a": [b"1", "2", "x"]}), "'a' of the table holds 'x' in row 2"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column called 'a'"),
        (pd.DataFrame({"a": []}), "the table holds no rows"),
        (pd.DataFrame(index=[0, 1]), "no columns of features"),
        (pd.DataFrame({"a": [1j]}), "column 'a' of the table holds complex128"),
    ],
)
def test_bad_frame(frame, message):
    with pytest.raises(DataError, match=message):
        dataset_from_frame(frame)


def test_a_title_above_the_header_of_a_sheet_is_named(tmp_path):
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": [5, 6]})
    table.to_excel(tmp_path / "titled.xlsx", index=False, startrow=2)
    with pytest.raises(DataError, match="names 0 of 3 columns, expected the header; delete the"):
        load_table(tmp_path / "titled.xlsx")


def test_a_folder_of_tables_is_none_of_images(tmp_path):
    for name in ("monday.csv", "tuesday.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"holds 2 tables, monday\.csv, \.\.\., and a folder is"):
        load(tmp_path)
    with pytest.raises(DataError, match="join several into one file"):
        load(f"{tmp_path}/*.csv")

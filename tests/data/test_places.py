"""All that is wrong with the columns of a table is said at once."""

import numpy as np
import pandas as pd
import pytest

from isthmus import load
from isthmus.data import Schema
from isthmus.errors import DataError, SchemaError
from isthmus.serve.refusals import refusal_of


def test_all_columns_that_cannot_be_read_are_said_at_once(tmp_path):
    rng = np.random.default_rng(0)
    good = pd.DataFrame(rng.normal(size=(40, 4)), columns=list("abcd")).assign(
        kind=rng.choice(["x", "y"], 40)
    )
    schema = Schema.learn(good)
    bad = good.astype(object)
    bad.loc[3, "a"], bad.loc[[5, 9], "b"], bad.loc[7, "c"] = "oops", "hm", np.inf
    bad.to_csv(tmp_path / "bad.csv", index=False)
    said = (
        "3 columns of .*cannot be read:\n- column 'a'.*'oops' in row 3, counting from 0.*\n"
        "- column 'b'.*'hm' in row 5, counting from 0.*; 2 such cells in this column.*\n"
        "- .*inf in column 'c'"
    )
    for read in (
        lambda: load(tmp_path / "bad.csv", schema=schema),
        lambda: load(tmp_path / "bad.csv"),
        lambda: schema.check(bad),
    ):
        with pytest.raises(DataError, match=said) as found:
            read()
        assert len(found.value.problems) == 3
    bad.drop(columns=["d"]).to_csv(tmp_path / "fewer.csv", index=False)
    with pytest.raises(SchemaError, match=r"(?s)missing \['d'\].*'oops'.*'hm'.*inf") as found:
        load(tmp_path / "fewer.csv", schema=schema)
    assert len(found.value.problems) == 4
    refused = refusal_of(found.value).to_dict()
    assert all(word in refused["got"] for word in ("missing ['d']", "'oops'", "'hm'", "inf"))
    with pytest.raises(SchemaError, match="^column 'a' holds") as alone:
        schema.check(bad.assign(b=good["b"], c=good["c"]))  # one stays as it is
    assert alone.value.problems == ()


def german(n=60):
    """A table as spreadsheets in Germany write it."""
    days = pd.date_range("2024-05-01", periods=n).strftime("%d.%m.%Y")
    rng = np.random.default_rng(0)
    amounts = [f"{value:.2f}".replace(".", ",") for value in rng.normal(20, 5, n)]
    return pd.DataFrame({"day": days, "amount": amounts, "price": amounts}).astype(object)


def test_what_the_advised_options_do_not_read_is_said_with_them(tmp_path):
    table = german()
    table.loc[[8, 11], "amount"], table.loc[3, "day"] = "k.A.", "31.02.2024"
    table["age"] = ["k.A.", "-", *range(20, 78)]
    table.to_csv(tmp_path / "german.csv", index=False, sep=";")
    with pytest.raises(DataError) as found:
        load(tmp_path / "german.csv")
    day, amount, price, age = map(str, found.value.problems)
    assert "2 such cells in this column ('k.A.', '-')" in age
    assert "(on the command line --na k.A. --na -)" in age
    assert "--date-format %d.%m.%Y" in day
    assert "1 of its cells is not written so, the first '31.02.2024' in row 3" in day
    assert "--decimal ," in amount
    assert "2 of its cells are not written so, the first 'k.A.' in row 8" in amount
    assert "--na k.A." in amount
    assert "not written so" not in price


def test_dates_in_several_notations_are_no_categories(tmp_path):
    days = pd.date_range("2024-05-01", periods=60)
    formats = ["%d.%m.%Y", "%Y-%m-%d", "%d/%m/%y"]
    mixed = [day.strftime(formats[at % 3]) for at, day in enumerate(days)]
    table = pd.DataFrame({"day": mixed, "a": range(60), "b": np.arange(60) % 7})
    table.to_csv(tmp_path / "mixed.csv", index=False)
    said = r"dates in several notations \(01.05.2024, 2024-05-02, 03/05/24\).*write all as 2024"
    with pytest.raises(DataError, match=said):
        load(tmp_path / "mixed.csv")
    assert load(tmp_path / "mixed.csv", category=["day"]).schema.types[0].type == "category"
    versions = [f"{at % 4}.{at % 13}.{at % 7}" for at in range(60)]
    of_versions = load(table.assign(day=versions))
    assert of_versions.schema.types[0].type == "category"


def test_columns_that_are_not_there_are_named_at_once(tmp_path):
    german().to_csv(tmp_path / "german.csv", index=False, sep=";")
    said = r"has no columns 'Day', 'id', 'zone'; did you mean 'day'\? it has day, amount, price"
    for options in (
        {"label": "Day", "keys": ["id"], "drop": ["zone"]},
        {"kind": "series", "time": "Day", "group": "id", "keys": ["zone"]},
    ):
        with pytest.raises(DataError, match=said):
            load(tmp_path / "german.csv", **options)


def test_all_that_is_wrong_with_readings_is_said_at_once(tmp_path):
    times = pd.date_range("2024-05-01", periods=200, freq="min")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(200, 3)), columns=["a", "b", "c"]).astype(object)
    table.insert(0, "time", times.strftime("%d.%m.%Y %H:%M"))
    table.loc[5, "a"], table.loc[[9, 12], "b"], table.loc[50, "c"] = "error", "?", np.inf
    table.to_csv(tmp_path / "bad.csv", index=False)
    options = {"kind": "series", "time": "time"}
    with pytest.raises(DataError) as found:
        load(tmp_path / "bad.csv", **options)
    time, *channels = map(str, found.value.problems)
    assert "--date-format '%d.%m.%Y %H:%M'" in time
    assert [one.split(" in row ")[0] for one in channels[:2]] == [
        f"column {name!r} of {tmp_path / 'bad.csv'} holds {value!r}"
        for name, value in (("a", "error"), ("b", "?"))
    ]
    assert "2 such cells" in channels[1]
    assert "the value is infinite in column 'c', row 50" in channels[2]

    table.loc[20, "time"] = "01.05.2024 25:00"
    table.to_csv(tmp_path / "bad.csv", index=False)
    said = r"4 columns.*\n.*'time' .*'01.05.2024 25:00', which is no date.*row 20.*17.05.2024 00:00"
    with pytest.raises(DataError, match=said):
        load(tmp_path / "bad.csv", date_format="%d.%m.%Y %H:%M", **options)


def test_readings_with_a_decimal_comma_say_so(tmp_path):
    table = pd.DataFrame({"t": range(100), "load": ["20", "20,5"] * 50, "flow": ["1", "2"] * 50})
    table.to_csv(tmp_path / "comma.csv", index=False, sep=";")
    with pytest.raises(DataError, match=r"'load' .*'20,5' in row 1.*50 such cells.*--decimal ,"):
        load(tmp_path / "comma.csv", kind="series", time="t")
    table.assign(load="2,5", state="on").to_csv(tmp_path / "words.csv", index=False, sep=";")
    with pytest.raises(DataError) as found:
        load(tmp_path / "words.csv", kind="series", time="t")
    number, word = map(str, found.value.problems)
    assert "column 'load'" in number
    assert "--decimal ," in number
    assert "column 'state' of" in word
    assert "--decimal" not in word


@pytest.mark.parametrize("order", [["time"], ["sensor", "time"]])
def test_a_row_for_each_sensor_is_refused_with_what_makes_a_column_of_each(order):
    times = np.repeat(np.arange(100), 2)
    table = pd.DataFrame({"time": times, "sensor": ["flow", "heat"] * 100, "value": times / 7})
    table = table.sort_values(order, ignore_index=True)
    options = {"kind": "series", "time": "time"}
    with pytest.raises(DataError, match="if 'sensor' names the sensor of each reading") as found:
        load(table, **options)
    call = str(found.value).split("make a column of each: ")[1]
    wide = eval(call, {"table": table})
    assert load(wide, window=10, **options).channel_names == ("flow", "heat")
    twice = pd.concat([table, table]).sort_values("time", ignore_index=True)
    with pytest.raises(DataError) as found:
        load(twice, **options)
    assert "names the sensor" not in str(found.value)

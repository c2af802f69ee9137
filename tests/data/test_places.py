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

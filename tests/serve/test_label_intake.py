"""Labels from the queue of a service, taken into the heads of the bundle."""

import errno
import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier

from isthmus import CodeClassifier, load_bundle
from isthmus.bundle import add_head, read_manifest
from isthmus.classification import HEADS, SpreadingHead, uses_unlabelled
from isthmus.cli import main
from isthmus.data import Schema
from isthmus.errors import DataError, OutputError
from isthmus.serve import read_labels, take_labels
from isthmus.serve.label_queue import LabelQueue
from isthmus.serve.label_requests import PARTIAL_HEADS, read_class_label
from isthmus.serve.refusals import Refusal


@pytest.fixture
def bundle(digits_folder, tmp_path):
    return shutil.copytree(digits_folder / "bundle", tmp_path / "press")


@pytest.fixture
def send(client):
    """Send labels to an emptied queue, and return its file."""
    client.queue.write_text("")
    client.queue.with_name(client.queue.name + ".rejected.jsonl").unlink(missing_ok=True)

    def sent(instances, labels, head="normal", path="/labels"):
        body = {"instances": instances, "labels": labels, "head": head}
        if head == "normal" and -1 not in labels and 1 in labels:
            body["normal"] = 1  # of 0 and 1 alone either may be normal
        assert client.post(path, json=body).status_code == 202
        return client.queue

    return sent


@pytest.fixture(scope="module")
def X(digits):
    return digits[0][1300:1310]


def current(bundle, name):
    return read_manifest(bundle)["heads"][name]["version"]


def test_labels_of_a_service_are_taken_into_their_heads(send, bundle, digits, X):
    before = load_bundle(bundle)
    send(X[:6].tolist(), [1, 1, -1, -1, 1, -1])
    send(X[:4].tolist(), [3, 3, 4, 4], "kind")
    queue = send([[0.5, "red", True, "2024-01-02"]], [1], path="/bundles/parts/labels")

    facts = take_labels(bundle, queue)

    expected = before.head("normal").add_labels(X[:6], [1, 1, -1, -1, 1, -1])
    kind = before.head("kind").add_labels(X[:4], [3, 3, 4, 4])
    after = load_bundle(bundle)
    test = digits[0][1500:]
    assert after.head("normal").predict(test).tolist() == expected.predict(test).tolist()
    assert after.head("normal").offset_ == pytest.approx(expected.offset_)
    assert after.head("kind").predict(test).tolist() == kind.predict(test).tolist()
    assert after.head("kind").classes_.dtype == kind.classes_.dtype
    assert facts == {
        "heads": [
            {"name": "normal", "n_given": 6, "n_new": 6, "n_changed": 0, "version": 2},
            {"name": "kind", "n_given": 4, "n_new": 4, "n_changed": 0, "version": 2},
        ],
        "left": {"parts": 1},
        "rejected": [],
        "rejected_file": None,
    }
    assert not list(queue.parent.glob("*.rejected.jsonl"))


def test_labels_of_zero_and_one_need_the_normal_value(client, bundle, X):
    client.queue.write_text("")
    body = {"instances": X[:4].tolist(), "labels": [0, 0, 0, 1], "head": "normal"}
    refused = client.post("/labels", json=body)
    assert refused.status_code == 422
    assert "(0: 3, 1: 1)" in refused.json()["got"]
    assert '"normal": 0' in refused.json()["fix"]
    assert client.post("/labels", json=body | {"normal": True}).status_code == 422
    assert not client.queue.read_text()

    assert client.post("/labels", json=body | {"normal": 0}).status_code == 202
    lines = [json.loads(line) for line in client.queue.read_text().splitlines()]
    assert [line["label"] for line in lines] == [1, 1, 1, -1]
    take_labels(bundle, client.queue)
    assert load_bundle(bundle).head("normal").reference_set_.y[-4:].tolist() == [1, 1, 1, -1]
    withdrawn = body | {"labels": [None] * 3 + [1], "normal": 0}
    assert client.post("/labels", json=withdrawn).status_code == 202
    take_labels(bundle, client.queue)
    assert load_bundle(bundle).head("normal").reference_set_.y[-4:].tolist() == [0, 0, 0, -1]


def test_labels_taken_twice_count_once_and_make_no_version(send, bundle, X):
    queue = send(X[:3].tolist(), [1, 1, -1])
    take_labels(bundle, queue)
    before = (bundle / "manifest.json").read_bytes()

    [again] = take_labels(bundle, queue)["heads"]

    assert again == {"name": "normal", "version": None, "n_given": 3, "n_new": 0, "n_changed": 0}
    assert (bundle / "manifest.json").read_bytes() == before
    send(X[3:4].tolist(), [-1])
    [more] = take_labels(bundle, queue)["heads"]
    assert (more["n_new"], more["n_changed"], more["version"]) == (1, 0, 3)
    assert load_bundle(bundle).head("normal").reference_set_.y[-4:].tolist() == [1, 1, -1, -1]


def test_the_later_label_of_an_instance_counts(send, bundle, X):
    n = len(load_bundle(bundle).head("normal").reference_set_.y)
    send(X[:3].tolist(), [1, 1, -1])
    queue = send(X[[0, 2]].tolist(), [-1, 0])  # the last is taken back before it is taken in

    [first] = take_labels(bundle, queue)["heads"]

    assert (first["n_given"], first["n_new"]) == (3, 2)
    assert sorted(load_bundle(bundle).head("normal").reference_set_.y[n:].tolist()) == [-1, 1]
    send(X[[0]].tolist(), [0])
    [second] = take_labels(bundle, queue)["heads"]
    assert (second["n_new"], second["n_changed"]) == (0, 1)
    assert sorted(load_bundle(bundle).head("normal").reference_set_.y[n:].tolist()) == [0, 1]


def test_a_label_of_a_spreading_head_is_withdrawn(send, bundle, digits, X):
    few = np.full(100, -1)
    few[:40] = digits[1][:40]
    spread = CodeClassifier(load_bundle(bundle).encoder, "spreading", random_state=0)
    add_head(bundle, "kind", spread.fit(digits[0][:100], few))
    queue = send(digits[0][[0, 50, 60]].tolist(), [0, 5, 0], "kind")
    changed(queue, 0, label=-1)
    changed(queue, 2, label=-1)

    [taken] = take_labels(bundle, queue)["heads"]

    # The last of the three had no label, and none was taken back.
    assert (taken["n_given"], taken["n_new"], taken["n_changed"]) == (3, 0, 2)
    assert load_bundle(bundle).head("kind").n_labels_ == 40
    assert take_labels(bundle, queue)["heads"][0]["version"] is None


def test_labels_of_one_head_only(send, bundle, X):
    send(X[:2].tolist(), [1, -1])
    queue = send(X[:2].tolist(), [3, 4], "kind")
    [taken] = take_labels(bundle, queue, "kind")["heads"]
    assert (taken["name"], taken["n_new"]) == ("kind", 2)
    assert (current(bundle, "kind"), current(bundle, "normal")) == (2, 1)


def test_rows_that_came_as_objects_and_as_lists(send, client):
    row = {"ok": None, "hue": "blue", "width": 0.5, "day": "2024-01-03"}
    send([row], [1], path="/bundles/parts/labels")
    queue = send([[1.5, None, True, None]], [-1], path="/bundles/parts/labels")
    schema = Schema.from_dict(client.get("/bundles/parts/schema").json()["schema"])

    read, y = read_labels(queue, schema, "parts")

    assert read["width"].tolist() == [0.5, 1.5]
    assert read["hue"][0] == "blue"
    assert y.tolist() == [1, -1]
    with pytest.raises(DataError, match="no labels for 'bolts'"):
        read_labels(queue, schema, "bolts")


def test_labels_in_a_column_of_a_table(client, parts, parts_folder):
    encoder = load_bundle(parts_folder.parent / "bundle").encoder
    rows = parts[:6].assign(good=[1, 0, None, 1, 0, 1])
    file = io.BytesIO()
    rows.to_parquet(file)
    lines = rows.drop(index=2).to_json(orient="records", lines=True, date_format="iso")
    left_out = ["1 of 6 rows have no label in the column 'good', and were left out"]
    for kind, content, warned in (
        ("text/csv", rows.to_csv(index=False), left_out),
        ("application/vnd.apache.parquet", file.getvalue(), left_out),
        ("application/x-ndjson", lines.replace(".0}", "}"), []),
    ):
        client.queue.write_text("")
        answer = client.post(
            "/bundles/parts/labels?label=good&normal=0&head=normal",
            content=content,
            headers={"Content-Type": kind},
        )
        assert answer.status_code == 202, answer.text
        assert answer.json()["queued"] == 5
        assert answer.json()["warnings"] == warned
        read, y = read_labels(client.queue, encoder.schema_, "parts")
        assert y.tolist() == [-1, 1, -1, 1, -1]
        same = encoder.row_hashes(rows.drop(index=2).drop(columns="good"))
        assert encoder.row_hashes(read).tolist() == same.tolist()


def changed(queue, at, **values):
    lines = queue.read_text().splitlines()
    lines[at] = json.dumps(json.loads(lines[at]) | values)
    queue.write_text("\n".join(lines) + "\n")


def cut(queue):
    queue.write_bytes(queue.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "line", "reason"),
    [
        (cut, 3, "is cut short"),
        (lambda queue: queue.write_text("7\n" + queue.read_text()), 1, "has no bundle, digest"),
        (lambda queue: changed(queue, 1, label=[1]), 2, "has the label [1]"),
        (lambda queue: changed(queue, 1, bundle=[1]), 2, "has the bundle [1], expected text"),
        (lambda queue: changed(queue, 1, label=0.5), 2, "got '0.5', expected 1 normal"),
        (lambda queue: changed(queue, 1, label=7), 2, "got '7', expected 1 normal"),
        (lambda queue: changed(queue, 2, label="x"), 3, "expected a whole number such as 0"),
        (lambda queue: changed(queue, 2, label=""), 3, "got empty text"),
        (lambda queue: changed(queue, 2, label=2.5), 3, "expected a whole number such as 0"),
        (lambda queue: changed(queue, 2, label=10**400), 3, "expected a whole number such as 0"),
        (lambda queue: changed(queue, 1, head="odd"), 2, "(kind, normal)"),
        (lambda queue: changed(queue, 1, instance=[[1]]), 2, "has an instance that does not fit"),
        (lambda queue: queue.write_bytes(b"[" * 10**5 + b"\n" + queue.read_bytes()), 1, "not JSON"),
        (lambda queue: queue.write_bytes(b"\xff\x00\n" + queue.read_bytes()), 1, "is not JSON"),
    ],
)
def test_a_wrong_line_is_set_aside_and_the_others_are_taken(send, bundle, X, spoil, line, reason):
    send(X[:2].tolist(), [-1, -1])
    queue = send(X[:1].tolist(), [3], "kind")
    whole = queue.read_bytes().splitlines()
    spoil(queue)
    spoiled = queue.read_bytes()
    kept = [one for one in spoiled.splitlines() if one in whole]

    facts = take_labels(bundle, queue)

    [rejected] = facts["rejected"]
    assert (rejected["line"], reason in rejected["reason"]) == (line, True), rejected
    assert sum(one["n_new"] for one in facts["heads"]) == len(kept)
    file = queue.with_name(queue.name + ".rejected.jsonl")
    assert facts["rejected_file"] == str(file)
    [written] = map(json.loads, file.read_text().splitlines())
    assert {"line": written["line"], "reason": written["reason"]} == rejected
    assert queue.read_bytes() == spoiled
    take_labels(bundle, queue)
    assert len(file.read_text().splitlines()) == 1  # each once


def test_a_queue_of_which_no_line_can_be_taken_is_refused(send, bundle, X):
    queue = send(X[:2].tolist(), [1, -1])
    before = (bundle / "manifest.json").read_bytes()
    changed(queue, 0, label=7)
    changed(queue, 1, label=8)
    with pytest.raises(DataError, match=r"2 lines of .*: line 1 .* got '7'.*; line 2 .*\.rejected"):
        take_labels(bundle, queue)
    file = queue.with_name(queue.name + ".rejected.jsonl")
    assert len(file.read_text().splitlines()) == 2
    queue.write_text("")
    with pytest.raises(DataError, match="is empty"):
        take_labels(bundle, queue)
    assert (bundle / "manifest.json").read_bytes() == before


def test_labels_for_a_head_that_stores_no_codes_are_set_aside(send, bundle, X, monkeypatch):
    send(X[:1].tolist(), [-1])
    queue = send(X[:2].tolist(), [3, 4], "kind")
    opened = load_bundle(bundle)
    opened.heads["kind"].labelled_ = None
    monkeypatch.setattr("isthmus.serve.label_intake.load_bundle", lambda path: opened)
    facts = take_labels(bundle, queue)
    assert [one["name"] for one in facts["heads"]] == ["normal"]
    assert [one["line"] for one in facts["rejected"]] == [2, 3]
    assert "stores no codes" in facts["rejected"][0]["reason"]


def test_a_label_after_a_line_that_was_cut_short_is_kept(send, bundle, X):
    queue = send(X[:2].tolist(), [-1, -1])
    cut(queue)
    send_more = queue.read_bytes()
    LabelQueue(queue, 2**20).add([json.loads(send_more.splitlines()[0]) | {"label": 1}])
    facts = take_labels(bundle, queue)
    assert [one["line"] for one in facts["rejected"]] == [2]
    [head] = facts["heads"]
    assert (head["n_given"], head["n_new"]) == (1, 1)
    assert load_bundle(bundle).head("normal").reference_set_.y[-1] == 1


def test_a_queue_that_cannot_be_written_is_refused_at_the_start_and_later_by_503(
    tmp_path, monkeypatch
):
    queue = LabelQueue(tmp_path / "labels", 2**20)
    queue.add([{"label": 1}])
    before = (tmp_path / "labels").read_bytes()

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("write", "open"):
        monkeypatch.setattr(os, name, refuse)
        with pytest.raises(Refusal, match=r"cannot be written \(Read-only file system\)") as caught:
            queue.add([{"label": -1}])
        assert caught.value.status == 503
        assert (tmp_path / "labels").read_bytes() == before
    monkeypatch.undo()
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "labels"):
        with pytest.raises(OutputError, match="folder"):
            LabelQueue(path, 2**20)


def test_damaged_lines_are_left_out_with_a_warning(send, client, X):
    queue = send(X[:2].tolist(), [-1, -1])
    cut(queue)
    schema = Schema.from_dict(client.get("/schema").json()["schema"])
    with pytest.warns(UserWarning, match=r"1 line of .* left out: line 2 is cut short"):
        read, y = read_labels(queue, schema, "digits")
    assert (len(read), y.tolist()) == (1, [-1])


def test_a_queue_of_another_bundle_is_refused(send, bundle):
    queue = send([[0.5, "red", True, None]], [1], path="/bundles/parts/labels")
    with pytest.raises(DataError, match=r"for the encoder .* \(parts\) in .*, expected"):
        take_labels(bundle, queue)


def isthmus(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_the_command_prints_what_was_taken(send, bundle, X, monkeypatch, capsys):
    queue = send(X[:3].tolist(), [1, 1, -1])
    assert isthmus(monkeypatch, "label", bundle, "--queue", queue, "--json", "-") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["heads"][0]["n_new"] == 3
    assert captured.err.splitlines() == [
        "head 'normal': 3 labelled instances, 3 of them new to it, 0 with another label",
        f"head 'normal', version 2, is in {bundle}",
    ]
    assert isthmus(monkeypatch, "label", bundle, "--queue", queue) == 0
    assert "head 'normal', has them all already, is in" in capsys.readouterr().out


def test_the_command_names_and_counts_the_lines_left_out(send, bundle, X, monkeypatch, capsys):
    queue = send(X[:3].tolist(), [1, 1, -1])
    changed(queue, 1, label="[bold]x")
    assert isthmus(monkeypatch, "label", bundle, "--queue", queue, "--json", "-") == 0
    captured = capsys.readouterr()
    assert [one["line"] for one in json.loads(captured.out)["rejected"]] == [2]
    assert f"line 2 of {queue} has a label that does not fit: got '[bold]x'" in captured.err
    assert f"left out 1 line that cannot be taken, in {queue}.rejected.jsonl" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "got no labels; pass them"),
        (("x.csv", "--queue", "q.jsonl"), "expected one of the two"),
        (("--queue", "q.jsonl", "--label", "kind"), "expected one of the two"),
        (("--queue", "q.jsonl", "--name", "odd"), "no label for the head 'odd', only for normal"),
    ],
)
def test_conflicting_options(send, bundle, X, monkeypatch, capsys, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    shutil.copy(send(X[:1].tolist(), [1]), "q.jsonl")
    assert isthmus(monkeypatch, "label", bundle, *words) == 1
    assert message in capsys.readouterr().err


def test_a_label_of_another_type_is_the_same_class(send, bundle, X):
    take_labels(bundle, send(X[:1].tolist(), ["3"], "kind"))
    head = load_bundle(bundle).head("kind")
    assert head.classes_.dtype.kind in "iu"
    assert head.labelled_.y[-1] == 3


def test_a_classifiers_label_is_queued_as_its_class(send, client, X):
    queue = send(X[:4].tolist(), ["3", 4.0, 3, "08"], "kind")
    assert [json.loads(line)["label"] for line in queue.read_text().splitlines()] == [3, 4, 3, 8]


@pytest.mark.parametrize(
    ("label", "got"),
    [
        ("cat", "the label 'cat' of instance 1, counting from 0"),
        ("", "empty text as the label of instance 1, counting from 0"),
        (" ", "empty text"),
        ("x" * 10**6, "a label of 1000000 characters"),
        ("3\x00", "control characters"),
        ("3\n", "control characters"),
        ("2.5", "the label '2.5'"),
        ("1e999", "the label '1e999'"),
        (2**60, "the label 1152921504606846976"),
        (-1, "the label -1"),
    ],
)
def test_a_label_that_the_head_does_not_take_is_refused(client, X, label, got):
    client.queue.write_text("")
    body = {"instances": X[:2].tolist(), "labels": [3, label], "head": "kind"}
    refused = client.post("/labels", json=body)
    assert refused.status_code == 422
    assert refused.json()["got"].startswith(got)
    assert len(refused.text) < 1000
    assert not client.queue.read_text()


def test_a_new_class_is_taken_with_a_warning(client, X):
    body = {"instances": X[:2].tolist(), "labels": [3, 12], "head": "kind"}
    answer = client.post("/labels", json=body)
    assert answer.status_code == 202
    [warning] = answer.json()["warnings"]
    assert warning.startswith("labels that are no class of the head 'kind' yet")
    assert warning.endswith("when the queue is taken: 1 (12)")


def test_labels_of_each_kind_of_classes_are_those_that_the_head_takes():
    assert read_class_label("true", [False, True], partial=False) is True
    assert read_class_label(True, [False, True], partial=False) is True
    assert read_class_label(0.5, [0.5, 1.5], partial=False) == 0.5
    assert read_class_label("dog", ["cat", "nut"], partial=False) == "dog"
    assert read_class_label(7, ["7", "8"], partial=False) == "7"
    assert read_class_label(-1, [-1, 1], partial=False) == -1
    assert read_class_label(-1, ["cat", "nut"], partial=True) is None
    assert read_class_label("a\tb", ["a\tb", "c"], partial=False) == "a\tb"
    for label, classes in ((3, ["cat", "nut"]), (True, [0, 1]), ("dog", [0, 1]), (-1, ["a", "b"])):
        with pytest.raises(DataError, match="got the label"):
            read_class_label(label, classes, partial=False)


def test_the_heads_that_use_unlabelled_rows_are_those_that_take_a_withdrawal():
    found = [
        SelfTrainingClassifier(LogisticRegression()),
        LabelSpreading(),
        LabelPropagation(),
        SpreadingHead(),
    ]
    assert all(map(uses_unlabelled, found))
    assert set(PARTIAL_HEADS) == {"spreading", *(type(one).__name__ for one in found)}
    assert not any(uses_unlabelled(name) for name in HEADS if name not in PARTIAL_HEADS)


def test_empty_text_in_a_queue_is_no_label(send, bundle, X):
    queue = send(X[:2].tolist(), [-1, 1])
    assert take_labels(bundle, queue)["heads"][0]["n_new"] == 2
    changed(queue, 0, label="")
    assert take_labels(bundle, queue)["heads"][0]["n_changed"] == 1
    assert load_bundle(bundle).head("normal").reference_set_.y[-2:].tolist() == [0, 1]


def test_a_queue_is_taken_without_the_extra(send, bundle, X, monkeypatch):
    queue = send(X[:1].tolist(), [-1])
    for module in ("fastapi", "uvicorn", "pydantic_core", "onnxruntime", "prometheus_client"):
        monkeypatch.setitem(sys.modules, module, None)
    assert take_labels(bundle, queue)["heads"][0]["n_new"] == 1

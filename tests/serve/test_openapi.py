"""The service against its OpenAPI description: valid requests are accepted, others refused."""

import itertools

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from schemathesis import GenerationMode

from isthmus.serve.refusals import MEANINGS

BRIEFLY = hypothesis.settings(
    max_examples=4,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)


def operations_of(client, mode):
    """The operations that are described, of two bundles."""
    plain = client.get("/openapi.json").json()
    paths = plain["paths"]
    # The routes of the first bundle are the same functions once more.
    for path in [path for path in paths if path.startswith("/bundles/digits")]:
        del paths[path]
    for operations in paths.values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            # OpenAPI cannot say of which size an image is, and 413 is no answer to a wrong
            # number of instances in schemathesis' eyes; both have tests of their own.
            for kind in [kind for kind in content if kind != "application/json"]:
                del content[kind]
            for body in content.values():
                _without_lengths(body["schema"])
                if mode == GenerationMode.NEGATIVE:
                    _with_any_cells(body["schema"])
    return [one.ok() for one in schemathesis.openapi.from_dict(plain).get_all_operations()]


def test_the_description_explains_each_status_and_the_page_links_to_it(client):
    plain = client.get("/openapi.json").json()
    for operations in plain["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            for status, answer in operation["responses"].items():
                assert answer["description"] == MEANINGS[int(status)]
    refused = plain["paths"]["/predict"]["post"]["responses"]["503"]["description"]
    assert "too much load" in refused
    assert 'href="openapi.json"' in client.get("/").text
    assert client.get("/docs").json()["fix"] == "see /openapi.json"


def _without_lengths(body):
    for one in body.get("anyOf", [body]):
        one["properties"]["instances"].pop("maxItems")
        if "labels" in one["properties"]:
            # Nor can it say that two lists are of one length.
            one["properties"]["labels"] |= {"maxItems": 2, "minItems": 2}
            one["properties"]["instances"] |= {"maxItems": 2, "minItems": 2}


def _with_any_cells(body):
    # The service reads cells as those of a table or an image, of which the description names the
    # usual form: "1.5" is a number too, false is 0, and a date may have a time of day.
    for one in body.get("anyOf", [body]):
        cell = one["properties"]["instances"]["items"]
        if "properties" in cell:
            cell["properties"] = {name: {} for name in cell["properties"]}
            cell["additionalProperties"] = {}
            continue
        while "items" in cell["items"]:
            cell = cell["items"]
        cell["items"] = {}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_service_conforms_to_its_description(client, mode):
    asked = set()
    for operation in operations_of(client, mode):
        takes_nothing = operation.method == "get" and not operation.query
        if mode == GenerationMode.NEGATIVE and takes_nothing:
            continue

        @BRIEFLY
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            case.call_and_validate(base_url=str(client.base_url))
            asked.add(case.path)

        ask()
    assert {"/predict", "/labels", "/known", "/nearest", "/bundles/parts/predict"} <= asked


def test_labels_of_a_detector_are_described_as_they_are_taken(client):
    content = client.get("/openapi.json").json()["paths"]["/bundles/parts/labels"]["post"]
    schema = content["requestBody"]["content"]["application/json"]["schema"]
    described = jsonschema_rs.Draft202012Validator(schema)
    row, accepted = {"width": 1.5, "hue": "red", "ok": True, "day": "2024-05-17"}, 0
    for stated in ({}, {"normal": 0}, {"normal": 1}):
        for labels in itertools.combinations_with_replacement([1, 0, -1, None], 2):
            body = {"instances": [row, row], "labels": list(labels)} | stated
            answer = client.post("/bundles/parts/labels", json=body)
            assert (answer.status_code == 202) == described.is_valid(body), (body, answer.text)
            accepted += answer.status_code == 202
    assert 0 < accepted < 30

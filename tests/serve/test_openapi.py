"""The service against its OpenAPI description: valid requests are accepted, others refused."""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode

from isthmus.serve.refusals import MEANINGS

BRIEFLY = hypothesis.settings(
    max_examples=4,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)


@pytest.fixture(scope="module")
def operations(client):
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
            # Nor can it say that two lists are of one length, or that labels hold "normal".
            stated = "normal" in one["properties"]
            one["properties"]["normal"] = {"const": 1} if stated else {"not": {}}
            one["properties"]["labels"] |= {"contains": {"const": 1}} if stated else {}
            one["properties"]["labels"] |= {"maxItems": 2, "minItems": 2}
            one["properties"]["instances"] |= {"maxItems": 2, "minItems": 2}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_service_conforms_to_its_description(client, operations, mode):
    asked = set()
    for operation in operations:
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

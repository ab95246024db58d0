"""The description of the API follows the routes."""

from __future__ import annotations

import json

from engine.api import openapi
from engine.api.descriptions import DESCRIPTIONS


def test_every_description_is_of_a_route() -> None:
    paths = json.loads(openapi.text())["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert not set(DESCRIPTIONS) - served


def test_an_operation_in_full() -> None:
    document = json.loads(openapi.text())
    operation = document["paths"]["/containers/{id}/top"]["get"]
    assert operation["summary"] == "Equivalent: `docker top`."
    assert [(p["name"], p["in"], p["schema"]["type"]) for p in operation["parameters"]] == [
        ("id", "path", "string"),
        ("ps_args", "query", "string"),
    ]
    assert set(operation["responses"]) == {"200", "400", "404", "409", "500"}
    create = document["components"]["schemas"]["ContainerCreate"]["properties"]
    assert create["HostConfig"]["properties"]["Binds"]["items"] == {"type": "string"}

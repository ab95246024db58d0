"""Seccomp programs, kept by the rules they were compiled from."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from engine.model import Json
from engine.runtime.filters import ANNOTATION, PROGRAM, Filters

PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{"names": ["read"]}]}
CODE = bytes(range(16))


def spec(**seccomp: object) -> Json:
    return {"linux": {"seccomp": PROFILE | seccomp}}


def learned(folder: Path, config: Json, code: bytes = CODE) -> Filters:
    (folder / PROGRAM).write_bytes(code)
    filters = Filters()
    filters.learn(config, folder)
    return filters


def test_the_second_container_of_a_filter_gets_the_program_of_the_first(tmp_path: Path) -> None:
    config = spec()
    hinted = learned(tmp_path, config).hinted(config | {"annotations": {"other": "stays"}})
    assert hinted["annotations"] == {"other": "stays", ANNOTATION: base64.b64encode(CODE).decode()}
    assert hinted["linux"] == config["linux"]  # for a runtime that does not know the annotation
    assert "annotations" not in config


def test_another_filter_does_not(tmp_path: Path) -> None:
    other = spec(defaultAction="SCMP_ACT_KILL")
    assert learned(tmp_path, spec()).hinted(other) == other
    assert learned(tmp_path, spec()).hinted({"linux": {}}) == {"linux": {}}


@pytest.mark.parametrize("more", [{"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, {"listenerPath": "/x"}])
def test_a_filter_that_is_more_than_its_program_is_left_to_the_runtime(tmp_path: Path, more: Json) -> None:
    assert learned(tmp_path, spec(**more)).hinted(spec(**more)) == spec(**more)


@pytest.mark.parametrize("code", [b"", CODE[:-1]])
def test_what_is_no_program_is_not_kept(tmp_path: Path, code: bytes) -> None:
    assert learned(tmp_path, spec(), code).hinted(spec()) == spec()


def test_a_runtime_that_keeps_no_program_teaches_nothing(tmp_path: Path) -> None:
    filters = Filters()
    filters.learn(spec(), tmp_path)
    assert filters.hinted(spec()) == spec()


def test_not_more_than_a_few_are_kept(tmp_path: Path) -> None:
    first = spec(defaultErrnoRet=0)
    filters = learned(tmp_path, first)
    for number in range(1, 40):
        filters.learn(spec(defaultErrnoRet=number), tmp_path)
    assert filters.hinted(first) == first
    assert ANNOTATION in filters.hinted(spec(defaultErrnoRet=39))["annotations"]

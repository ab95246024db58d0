"""Which log drivers and options there are, what they come to, and Docker's complaints."""

from __future__ import annotations

from typing import Any

import pytest

from engine.containers import logdrivers
from engine.model import Container
from engine.runtime import journal
from engine.runtime.logs import Record
from engine.runtime.rotation import Limit
from engine.streams import STDERR, STDOUT
from netpy.errors import InvalidArgument, KernelError

DEFAULT = {"Type": "json-file", "Config": {"max-size": "1m"}}


def container(driver: str, **options: str) -> Container:
    return Container(
        id="ab" * 32,
        name="web",
        created="",
        image="busybox",
        image_id="sha256:" + "1" * 64,
        config={"Labels": {"a": "b c", "other": "x"}, "Env": ["E=f", "F=g", "bare"]},
        host_config={"LogConfig": {"Type": driver, "Config": {k.replace("_", "-"): v for k, v in options.items()}}},
    )


def test_the_default_driver_lends_its_options() -> None:
    assert logdrivers.settled({}, DEFAULT) == DEFAULT
    assert logdrivers.settled({"Type": "json-file", "Config": {"max-file": "2"}}, DEFAULT)["Config"] == {
        "max-size": "1m",
        "max-file": "2",
    }
    assert logdrivers.settled({"Type": "local", "Config": {}}, DEFAULT) == {"Type": "local", "Config": {}}


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("x", {}, "logger: no log driver named 'x' is registered"),
        ("json-file", {"x": "1"}, "unknown log opt 'x' for json-file log driver"),
        ("journald", {"max-size": "1"}, "unknown log opt 'max-size' for journald log driver"),
        ("local", {"tag": "1"}, "unknown log opt 'tag' for log driver local"),
        ("json-file", {"mode": "x"}, "logger: logging mode not supported: x"),
        ("local", {"mode": "non-blocking", "max-buffer-size": "z"}, "error parsing option max-buffer-size: invalid size: 'z'"),
        ("local", {"max-buffer-size": "1k"}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
    ],
)  # fmt: skip
def test_what_is_refused(kind: str, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        logdrivers.check(kind, options)
    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    ("driver", "options", "limit"),
    [
        ("json-file", {}, None),
        ("json-file", {"max_file": "3"}, None),
        ("json-file", {"max_size": "10k"}, Limit(size=10_000, files=1)),
        ("json-file", {"max_size": "1.5MB", "max_file": "3", "compress": "true"}, Limit(size=1_500_000, files=3, compress=True)),
        ("local", {}, Limit(size=20_000_000, files=5, compress=True)),
        ("local", {"max_file": "1", "compress": "false"}, Limit(size=20_000_000, files=1)),
    ],
)  # fmt: skip
def test_limits(driver: str, options: dict[str, str], limit: Limit | None) -> None:
    assert logdrivers.plan(container(driver, **options)).limit == limit


@pytest.mark.parametrize(
    ("driver", "options", "complaint"),
    [
        ("json-file", {"max_size": "abc"}, "invalid size: 'abc'"),
        ("json-file", {"max_size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max_file": "abc"}, 'strconv.Atoi: parsing "abc": invalid syntax'),
        ("json-file", {"max_file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"),
        ("local", {"max_size": "abc"}, "invalid value for max-size: abc: invalid size: 'abc'"),
        ("local", {"max_file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("json-file", {"tag": "{{.x}}"}, 'template: log-tag:1:2: executing "log-tag" at <.x>: can\'t evaluate field x in type *logger.Info'),
    ],
)  # fmt: skip
def test_values_that_cannot_be(driver: str, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(KernelError) as refused:
        logdrivers.plan(container(driver, **options))
    assert str(refused.value) == f"failed to initialize logging driver: {complaint}"


def test_details_are_sorted_and_quoted() -> None:
    asked = container("json-file", labels="a", env_regex="^E", tag="{{.Name}}/{{.ImageName}}")
    plan = logdrivers.plan(asked)
    assert logdrivers.details(plan.attributes) == "E=f,a=b+c,tag=web%2Fbusybox"


def test_the_journal_is_told_a_tag() -> None:
    assert logdrivers.plan(container("journald")).tag == "abababababab"
    assert not logdrivers.plan(container("none")).is_file


@pytest.mark.parametrize(
    ("entry", "record"),
    [
        (b'{"MESSAGE":"hi","PRIORITY":"6","__REALTIME_TIMESTAMP":"5"}', Record(5000, STDOUT, b"hi\n", True)),
        (b'{"MESSAGE":[255],"PRIORITY":"3","__REALTIME_TIMESTAMP":"5"}', Record(5000, STDERR, b"\xff\n", True)),
        (
            b'{"MESSAGE":"a","PRIORITY":"6","__REALTIME_TIMESTAMP":"5","CONTAINER_PARTIAL_MESSAGE":"true"}',
            Record(5000, STDOUT, b"a", False),
        ),
        (b'{"MESSAGE":"hi\\n","PRIORITY":"6","__REALTIME_TIMESTAMP":"5"}', Record(5000, STDOUT, b"hi\n", True)),
        (b"no entry", None),
    ],
)
def test_entries_of_the_journal(entry: bytes, record: Any) -> None:
    assert journal.parse(entry) == record

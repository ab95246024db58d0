"""The table of states and the restart policy."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from engine import lifecycle
from engine.lifecycle import Ending, RestartPolicy, restart_delay, restart_policy, starts_with_daemon, step
from engine.model import Status
from netpy.errors import Conflict, InvalidArgument

ID = "c" * 64
EVENTS = (*get_args(lifecycle.Request), *get_args(lifecycle.Fact))


def test_a_whole_life() -> None:
    status: Status = "created"
    for event, expected in [
        ("start", "created"),
        ("started", "running"),
        ("pause", "paused"),
        ("unpause", "running"),
        ("backed-off", "restarting"),
        ("started", "running"),
        ("exited", "exited"),
        ("remove", "removing"),
    ]:
        status = step(status, event, ID)  # pyright: ignore[reportArgumentType]
        assert status == expected


@pytest.mark.parametrize(("status", "event"), list(product(get_args(Status), EVENTS)))
def test_every_pair_is_allowed_or_refused_with_words(status: Status, event: lifecycle.Event) -> None:
    if event in lifecycle.TABLE[status]:
        assert step(status, event, ID) in get_args(Status)
    else:
        with pytest.raises(Conflict, match=r"\w"):
            step(status, event, ID)


@pytest.mark.parametrize(
    ("status", "event", "text"),
    [
        ("exited", "pause", f"Container {ID} is not running"),
        ("paused", "pause", f"Container {ID} is already paused"),
        ("running", "unpause", f"Container {ID} is not paused"),
        ("paused", "start", "cannot start a paused container, try unpause instead"),
        ("exited", "exec", f"Container {ID} is not running"),
        ("paused", "exec", f"Container {ID} is paused, unpause the container before exec"),
        ("restarting", "exec", f"Container {ID} is restarting, wait until the container is running"),
        ("removing", "remove", f"removal of container {ID} is already in progress"),
        (
            "running",
            "remove",
            f"You cannot remove a running container {ID}. Stop the container before attempting removal or force remove",
        ),
        (
            "paused",
            "remove",
            f"You cannot remove a paused container {ID}. Unpause and then stop the container before attempting "
            "removal or force remove",
        ),
        ("exited", "kill", f"Container {ID} is not running"),
        ("dead", "start", "container is marked as dead and cannot be started"),
        ("removing", "start", "container is marked for removal and cannot be started"),
    ],
)
def test_refusals_are_dockers(status: Status, event: lifecycle.Event, text: str) -> None:
    with pytest.raises(Conflict) as caught:
        step(status, event, ID)
    assert str(caught.value) == text


def test_idle_requests_are_allowed_ones_that_change_nothing() -> None:
    for status, event in lifecycle.IDLE:
        assert step(status, event, ID) == status


def ending(**changes: object) -> Ending:
    values: dict[str, object] = {"exit_code": 1, "restarts": 0, "stopped_by_user": False, "ran_for": 1.0}
    return Ending(**values | changes)  # pyright: ignore[reportArgumentType]


def test_delays_double_to_a_minute_and_begin_anew_after_a_steady_run() -> None:
    policy, delays, delay = RestartPolicy(name="always"), [], 0.0
    for _ in range(12):
        delay = restart_delay(policy, ending(delay=delay)) or 0.0
        delays.append(delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert restart_delay(policy, ending(delay=60.0, ran_for=10.0)) == 0.1


@pytest.mark.parametrize(
    ("name", "maximum", "changes", "restarts"),
    [
        ("no", 0, {}, False),
        ("always", 0, {"exit_code": 0}, True),
        ("always", 0, {"stopped_by_user": True}, False),
        ("unless-stopped", 0, {}, True),
        ("unless-stopped", 0, {"stopped_by_user": True}, False),
        ("on-failure", 0, {"restarts": 999}, True),
        ("on-failure", 0, {"exit_code": 0}, False),
        ("on-failure", 3, {"restarts": 2}, True),
        ("on-failure", 3, {"restarts": 3}, False),
    ],
)
def test_policies(name: str, maximum: int, changes: dict[str, object], restarts: bool) -> None:
    policy = RestartPolicy(name=name, maximum=maximum)
    assert (restart_delay(policy, ending(**changes)) is not None) is restarts


def test_with_the_daemon_always_means_always() -> None:
    stopped = {"exit_code": 0, "restarts": 0, "stopped_by_user": True}
    assert starts_with_daemon(RestartPolicy(name="always"), **stopped)
    assert not starts_with_daemon(RestartPolicy(name="unless-stopped"), **stopped)
    assert starts_with_daemon(RestartPolicy(name="unless-stopped"), **stopped | {"stopped_by_user": False})
    assert not starts_with_daemon(RestartPolicy(name="no"), **stopped | {"stopped_by_user": False, "exit_code": 1})


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"Name": "sometimes"}, "unknown policy 'sometimes'"),
        ({"Name": "on-failure", "MaximumRetryCount": -1}, "cannot be negative"),
        ({"Name": "always", "MaximumRetryCount": 3}, "can only be used with 'on-failure'"),
        ({"Name": "on-failure", "MaximumRetryCount": "x"}, "not a number"),
    ],
)
def test_bad_policies(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        restart_policy(document)


def test_no_policy_is_no() -> None:
    assert restart_policy(None) == restart_policy({"Name": ""}) == RestartPolicy(name="no")

"""Port specifications in all of Docker's forms, and its words for those that are none."""

from __future__ import annotations

import pytest

from engine.cli.ports import bindings, exposed, port_range, published


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("8800:80", [("80/tcp", "", "8800")]),
        ("9000", [("9000/tcp", "", "")]),
        ("53:53/udp", [("53/udp", "", "53")]),
        ("53:53/UDP", [("53/udp", "", "53")]),
        ("127.0.0.1:5353:53/udp", [("53/udp", "127.0.0.1", "5353")]),
        ("127.0.0.1::80", [("80/tcp", "127.0.0.1", "")]),
        ("[::1]:80:80", [("80/tcp", "::1", "80")]),
        ("::1:80:80", [("80/tcp", "::1", "80")]),
        ("8000-8002:80-82", [("80/tcp", "", "8000"), ("81/tcp", "", "8001"), ("82/tcp", "", "8002")]),
        ("8000-9000:80", [("80/tcp", "", "8000-9000")]),
        ("80-81", [("80/tcp", "", ""), ("81/tcp", "", "")]),
    ],
)
def test_forms(spec: str, expected: list[tuple[str, str, str]]) -> None:
    assert published(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("99999:1", "invalid hostPort: 99999"),
        ("a:1", "invalid hostPort: a"),
        ("x", "invalid containerPort: x"),
        ("8-7", "invalid containerPort: 8-7"),
        ("1-3:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-3"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("80:80:80:80", "invalid IP address: 80:80"),
        ("80/foo", "invalid proto: foo"),
        ("", "no port specified: <empty>"),
        ("80:", "no port specified: 80:<empty>"),
        ("²", "invalid containerPort: ²"),
    ],
)
def test_refusals(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        published(spec)
    assert str(caught.value) == message


def test_bindings_are_collected_by_port() -> None:
    assert bindings(["8800:80", "127.0.0.1:8801:80", "53/udp", "published=81,target=82,protocol=udp"]) == {
        "53/udp": [{"HostIp": "", "HostPort": ""}],
        "80/tcp": [{"HostIp": "", "HostPort": "8800"}, {"HostIp": "127.0.0.1", "HostPort": "8801"}],
        "82/udp": [{"HostIp": "", "HostPort": "81"}],
    }
    with pytest.raises(ValueError, match="should be name=value but got 'x'"):
        bindings(["x,a=b"])


def test_exposed_ports_are_those_of_both_flags() -> None:
    assert exposed(["22", "90-91/udp"], bindings(["8800:80"])) == {
        "22/tcp": {},
        "80/tcp": {},
        "90/udp": {},
        "91/udp": {},
    }
    with pytest.raises(ValueError, match="invalid port format for --expose: 1:2"):
        exposed(["1:2"], {})
    with pytest.raises(ValueError, match=r'invalid range format for --expose: x, error: .*parsing "x": invalid syntax'):
        exposed(["x"], {})


def test_a_range_is_bounded_by_sixteen_bits() -> None:
    assert port_range("0-65535") == (0, 65535)
    with pytest.raises(ValueError, match="value out of range"):
        port_range("65536")

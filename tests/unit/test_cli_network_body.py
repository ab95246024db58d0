"""Flags of network create and connect into the API's documents: byte for byte what Docker's client sends."""

from __future__ import annotations

import pytest

from engine.cli import network
from engine.cli.command import CommandError
from engine.cli.network import connect_settings, network_body

from .cli_documents import ENDPOINT, options

CREATE = [option for option in network.create.params if option.name != "arguments"]
CONNECT = [option for option in network.connect.params if option.name != "arguments"]


def test_the_network_document_of_the_issue() -> None:
    argv = [
        "--driver",
        "bridge",
        "--subnet",
        "10.9.0.0/24",
        "--gateway",
        "10.9.0.1",
        "--ip-range",
        "10.9.0.128/25",
        "--aux-address",
        "router=10.9.0.2",
        "--internal",
        "--ipv6",
        "--label",
        "a=b",
        "-o",
        "com.docker.network.driver.mtu=1400",
    ]
    assert network_body("back", options(argv, CREATE)) == {
        "Name": "back",
        "Driver": "bridge",
        "Scope": "",
        "EnableIPv6": True,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [
                {
                    "Subnet": "10.9.0.0/24",
                    "IPRange": "10.9.0.128/25",
                    "Gateway": "10.9.0.1",
                    "AuxiliaryAddresses": {"router": "10.9.0.2"},
                }
            ],
        },
        "Internal": True,
        "Attachable": False,
        "Ingress": False,
        "ConfigOnly": False,
        "ConfigFrom": None,
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"a": "b"},
    }


def test_addresses_find_their_subnet() -> None:
    argv = ["--subnet", "10.1.0.0/16,fd00::/64", "--gateway", "fd00::1", "--gateway", "10.1.0.1"]
    assert network_body("x", options(argv, CREATE))["IPAM"]["Config"] == [
        {"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1"},
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--subnet 10.1.0.0/16 --subnet 10.1.2.0/24", "multiple overlapping subnet configuration is not supported"),
        ("--subnet 10.1.0.0/16 --gateway 10.2.0.1", "no matching subnet for gateway 10.2.0.1"),
        ("--subnet 10.1.0.0/16 --gateway foo", "no matching subnet for gateway foo"),
        ("--gateway 10.2.0.1", "every ip-range or gateway must have a corresponding subnet"),
        ("--subnet 10.1.0.0/16 --ip-range 10.2.0.0/24", "no matching subnet for range 10.2.0.0/24"),
        ("--subnet foo --gateway 10.2.0.1", "invalid subnet foo : invalid CIDR address: foo"),
        ("--config-only", "--config-only is not supported: netpy networks are local and stand alone"),
    ],
)
def test_networks_that_cannot_be(argv: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        network_body("x", options(argv.split(), CREATE))
    assert str(caught.value) == message


def test_the_connect_document() -> None:
    argv = [
        "--ip",
        "10.77.0.201",
        "--alias",
        "al2",
        "--alias",
        "b,c",
        "--link",
        "p:q",
        "--driver-opt",
        "a=b",
        "--gw-priority",
        "5",
    ]
    assert connect_settings(options(argv, CONNECT)) == ENDPOINT | {
        "IPAMConfig": {"IPv4Address": "10.77.0.201"},
        "Links": ["p:q"],
        "Aliases": ["al2", "b", "c"],
        "DriverOpts": {"a": "b"},
        "GwPriority": 5,
    }
    assert connect_settings(options([], CONNECT)) == ENDPOINT | {"IPAMConfig": {}, "Aliases": [], "DriverOpts": {}}
    with pytest.raises(CommandError, match="invalid key/value pair format in driver options"):
        connect_settings(options(["--driver-opt", "x"], CONNECT))

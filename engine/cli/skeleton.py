"""The package that `netpy driver new` writes: a driver that works, its tests, its README. Pure: names to text.

The driver is the example of plugins/README.md, so that what an author reads is what he has before him.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TAKEN = ("bridge", "host", "none", "null", "default")

MODULE = '''"""Driver `NAME`: a routed pair for each sandbox, without a bridge between them. Pure: it does no I/O."""

from collections.abc import Iterator, Mapping

from netpy.diff import State
from netpy.drivers import Defaults, Option, Traits
from netpy.model import Endpoint, Network, NetworkSpec, Subnet
from netpy.objects import Address, KernelObject, Route, Sysctl, Veth

DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def mtu(text: str) -> int:
    """What `-o mtu=…` may be."""
    if not text.isdecimal() or not 1280 <= int(text) <= 65535:
        raise ValueError("must be a number between 1280 and 65535")
    return int(text)


class CLASS:
    name = "NAME"
    traits = Traits()
    options: Mapping[str, Option] = {
        "mtu": Option(help="largest packet, in bytes", check=mtu, type="number", default="1500")
    }
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, defaults: Defaults) -> None:
        self.defaults = defaults

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return spec

    def network_state(self, network: Network) -> State:
        return frozenset(Sysctl(name=FORWARDING[subnet.family], value="1") for subnet in network.subnets)

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset(self._objects(network, endpoint))

    def _objects(self, network: Network, endpoint: Endpoint) -> Iterator[KernelObject]:
        inside, host = endpoint.sandbox.netns, f"veth{endpoint.id[:7]}"
        size = mtu(network.spec.options.get("mtu") or str(self.defaults.mtu))
        mark = f"{self.defaults.instance}/endpoint/{endpoint.id[:12]}"
        yield Veth(name=host, peer_netns=inside, ifname=endpoint.ifname, mac=endpoint.mac, mtu=size, mark=mark)
        for subnet in network.subnets:
            yield from self._routes(subnet, endpoint, host)

    def _routes(self, subnet: Subnet, endpoint: Endpoint, host: str) -> Iterator[KernelObject]:
        inside, link, width = endpoint.sandbox.netns, endpoint.ifname, 32 if subnet.family == 4 else 128
        address, gateway = f"{endpoint.address_of(subnet.family)}/{width}", f"{subnet.gateway}/{width}"
        yield Address(link=host, address=gateway)
        yield Route(link=host, destination=address)
        yield Address(netns=inside, link=link, address=address)
        yield Route(netns=inside, link=link, destination=gateway)
        yield Route(netns=inside, link=link, destination=subnet.subnet, via=subnet.gateway)
        if subnet.family in endpoint.gateways:
            yield Route(netns=inside, link=link, destination=DEFAULT[subnet.family], via=subnet.gateway)
'''

TESTS = '''from netpy.drivers import Defaults, Driver
from netpy.testing import LinuxContract

from MODULE import CLASS


class TestCLASS(LinuxContract):
    """Every rule that a driver keeps, in memory; and as root on the real kernel, in namespaces of its own."""

    def driver(self) -> Driver:
        return CLASS(Defaults())
'''

PROJECT = """[build-system]
requires = ["setuptools>=65"]
build-backend = "setuptools.build_meta"

[project]
name = "netpy-NAME"
version = "0.1.0"
description = "Network driver NAME for netpy"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["netpy"]

[project.entry-points."netpy.drivers"]
NAME = "MODULE:CLASS"

[tool.setuptools]
packages = ["MODULE"]
"""

README = """# netpy-NAME

Network driver `NAME` for netpy: a routed pair for each sandbox, without a bridge between them.

    pip install netpy-NAME              # beside netpy; then restart its daemon
    netpy network create -d NAME lan
    netpy run --network lan busybox ip addr

| option | type | default | meaning |
|---|---|---|---|
| `mtu` | number | 1500 | largest packet, in bytes |

## Working on it

    pip install -e .
    netpy driver test MODULE            # add sudo to try the real kernel as well
    pytest
"""


def module_of(name: str) -> str:
    """The Python package of a driver: `netpy_` and its name."""
    return f"netpy_{name.replace('-', '_')}"


def class_of(name: str) -> str:
    """The class of a driver: `vx-lan` gives `VxLanDriver`."""
    return "".join(part.capitalize() for part in name.split("-")) + "Driver"


def files(name: str) -> dict[str, str]:
    """Every file of the package by its path in there. ValueError for a name that no driver can have."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"invalid driver name {name!r}: lower-case letters and digits, with '-' between words")
    if name in _TAKEN:
        raise ValueError(f"driver {name} is built in: choose another name")
    module = module_of(name)
    templates = {
        "pyproject.toml": PROJECT,
        "README.md": README,
        f"{module}/__init__.py": MODULE,
        f"tests/test_{module.removeprefix('netpy_')}.py": TESTS,
    }
    return {path: _filled(text, name) for path, text in templates.items()}


def _filled(text: str, name: str) -> str:
    return text.replace("CLASS", class_of(name)).replace("MODULE", module_of(name)).replace("NAME", name)

"""The driver `cni`: the plugins of a CNI configuration make the interface, the addresses, the routes and the ports.

At the creation of a network its configuration is read, and kept with the network: what is in the file later does not
change what containers were given. Every plugin has to be there, to speak the version, and (from 1.1.0) to be ready.

| netpy | CNI |
|---|---|
| acquire | ADD, from the first plugin to the last; the final result is kept with the endpoint |
| release | DEL, from the last to the first, with the kept result; without one after a crash |
| check | CHECK of every attachment, and STATUS |
| collect | GC, once after each start, with all attachments that there are |

What the plugins made is wanted as `Given`: it is looked at, and not touched. Addresses are the plugins' to give, so
such a network has no subnets of netpy's. The embedded DNS answers in it as in any other. I/O: files and
processes, in hooks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from netpy.diff import State
from netpy.drivers import Acquired, Defaults, Option, Traits, check_options
from netpy.errors import DriverError, InvalidArgument, NetpyError
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import Given
from netpy_cni import capabilities, conflist, results
from netpy_cni.chain import Attachment, Chain
from netpy_cni.execution import Executor

Json = dict[str, Any]
CONFLIST, CONFIG, CONF_DIR, BIN_DIR, TIMEOUT = "conflist", "config", "conf-dir", "bin-dir", "timeout"
ARGS = "cni.args"
CONF_DIRS = "/etc/cni/net.d"
BIN_DIRS = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"
LONGEST = 30.0


def _absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("must be an absolute path")
    return text


def _directories(text: str) -> list[str]:
    return [_absolute(each) for each in text.split(":")]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"must be more than 0 and at most {LONGEST:g}")
    return seconds


def _bits(text: str) -> int:
    if int(text) <= 0:
        raise ValueError("must be a positive number")
    return int(text)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


class CniDriver:
    """Driver `cni`. See the module's text."""

    name = "cni"
    traits = Traits(addressing=False, routers=True, publishes=True, timeout=8 * LONGEST)
    options: Mapping[str, Option] = {
        CONFLIST: Option(help="file with the CNI configuration", check=_absolute, type="path"),
        CONFIG: Option(help="name of a CNI network to look for in conf-dir, in place of conflist", check=_printable),
        CONF_DIR: Option(
            help="where configurations are, colon separated", check=_directories, default=CONF_DIRS, type="paths"
        ),
        BIN_DIR: Option(help="where plugins are, colon separated", check=_directories, default=BIN_DIRS, type="paths"),
        TIMEOUT: Option(help="seconds that one plugin may take", check=_seconds, default="20", type="number"),
    }
    endpoint_options: Mapping[str, Option] = {
        ARGS: Option(help="CNI_ARGS for the plugins, as KEY=VALUE;…", check=_printable),
        **{
            key: Option(help=f"bandwidth: {name}, in bits (per second)", check=_bits)
            for key, name in capabilities.BANDWIDTH.items()
        },
    }

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    # ---- pure ----------------------------------------------------------------------------------------------------

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        check_options(spec.options, self.options, f"network {spec.name}")
        stated = [key for key in (CONFLIST, CONFIG) if spec.options.get(key)]
        if len(stated) != 1:
            given = "both are stated" if stated else "neither is stated"
            raise InvalidArgument(f"network {spec.name}: say -o conflist=/PATH or -o config=NAME; {given}")
        if any(each.subnet for each in spec.subnets):
            raise InvalidArgument(f"network {spec.name}: its CNI plugins give the addresses: state no subnet")
        return replace(spec, options=dict(spec.options))

    def network_state(self, network: Network) -> State:
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        if "result" not in endpoint.facts or not endpoint.sandbox.netns:
            return frozenset()
        made = results.outcome(json.loads(endpoint.facts["result"]), endpoint.sandbox.netns, endpoint.ifname)
        given = Given(
            netns=endpoint.sandbox.netns,
            ifname=endpoint.ifname,
            maker=f"CNI network {endpoint.facts.get('network', network.name)}",
            mac=made.mac,
            addresses=tuple(sorted(made.addresses)),
        )
        return frozenset({given})

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def acquire_network(self, network: Network) -> Mapping[str, str]:
        """Read the configuration and ask the plugins whether they can serve it."""
        options = network.spec.options
        path = options.get(CONFLIST)
        found = (
            Path(path)
            if path
            else conflist.find(options[CONFIG], _paths(options, CONF_DIR, "NETPY_CNI_CONF_DIR", CONF_DIRS))
        )
        read = conflist.load(found)
        chain = Chain(conflist=read, executor=_executor(options))
        chain.negotiate()
        for error in chain.status():
            raise error
        return {"conflist": json.dumps(conflist.document(read)), "file": str(found)}

    def release_network(self, network: Network) -> None:
        """Plugins know of attachments only; a last GC lets them drop what is left."""
        if "conflist" in network.facts:
            _raise_all("GC", self._chain(network).collect([]))

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        """ADD."""
        chain = self._chain(network)
        wanted = capabilities.arguments(endpoint)
        capabilities.check(chain.conflist, wanted)
        attachment = _attachment(endpoint, wanted)
        result = chain.add(attachment)
        try:
            made = results.outcome(result, attachment.netns, attachment.ifname)
            _check_addresses(chain.conflist.name, endpoint, made)
        except (results.BadResult, NetpyError) as error:
            left = "".join(f"; {each}" for each in chain.delete(attachment, result))
            raise DriverError(f"plugin {chain.conflist.plugins[-1]['type']}: ADD: {error}{left}") from error
        return Acquired(
            facts={"network": chain.conflist.name, "result": json.dumps(result), "wanted": json.dumps(wanted)},
            addresses=made.addresses,
            mac="" if endpoint.spec.mac else made.mac,
            routers=made.routers,
            dns=made.dns,
            search=made.search,
        )

    def release(self, network: Network, endpoint: Endpoint) -> None:
        """DEL."""
        if "conflist" not in network.facts:
            return
        wanted = (
            json.loads(endpoint.facts["wanted"]) if "wanted" in endpoint.facts else capabilities.arguments(endpoint)
        )
        result = json.loads(endpoint.facts["result"]) if "result" in endpoint.facts else None
        _raise_all("DEL", self._chain(network).delete(_attachment(endpoint, wanted), result))

    def check(self, network: Network, endpoints: Sequence[Endpoint]) -> list[str]:
        """STATUS, and CHECK of every endpoint."""
        chain = self._chain(network)
        lines = [str(error) for error in chain.status()]
        for endpoint in endpoints:
            if "result" in endpoint.facts:
                attachment = _attachment(endpoint, json.loads(endpoint.facts["wanted"]))
                errors = chain.check(attachment, json.loads(endpoint.facts["result"]))
                lines += [f"{endpoint.spec.name}: {error}" for error in errors]
        return lines

    def collect(self, network: Network, endpoints: Sequence[Endpoint]) -> None:
        """GC."""
        valid = [(endpoint.sandbox.id, endpoint.ifname) for endpoint in endpoints]
        _raise_all("GC", self._chain(network).collect(valid))

    def _chain(self, network: Network) -> Chain:
        body = network.facts.get("conflist")
        if body is None:
            raise DriverError(f"network {network.name} has no CNI configuration: it was never made")
        return Chain(
            conflist=conflist.parse(json.loads(body), network.facts.get("file", network.name)),
            executor=_executor(network.spec.options),
        )


def _executor(options: Mapping[str, str]) -> Executor:
    return Executor(
        directories=tuple(_paths(options, BIN_DIR, "CNI_PATH", BIN_DIRS)),
        timeout=float(options.get(TIMEOUT) or 20),
    )


def _paths(options: Mapping[str, str], key: str, variable: str, default: str) -> list[Path]:
    stated = options.get(key) or os.environ.get(variable) or default
    return [Path(each) for each in stated.split(":") if each]


def _attachment(endpoint: Endpoint, wanted: Mapping[str, Any]) -> Attachment:
    return Attachment(
        container=endpoint.sandbox.id,
        netns=endpoint.sandbox.netns,
        ifname=endpoint.ifname,
        arguments=endpoint.spec.options.get(ARGS, ""),
        wanted=wanted,
    )


def _check_addresses(name: str, endpoint: Endpoint, made: results.Outcome) -> None:
    given = set[object]()
    for address in made.addresses:
        with suppress(ValueError):
            given.add(str(ip_interface(address).ip))
    missing = [each for each in endpoint.spec.addresses if each not in given]
    if missing:
        raise DriverError(f"CNI network {name} gave {', '.join(made.addresses)}, not {', '.join(missing)} as asked")


def _raise_all(verb: str, errors: Sequence[NetpyError]) -> None:
    if errors:
        raise DriverError("; ".join(map(str, errors)) if len(errors) > 1 else str(errors[0]))

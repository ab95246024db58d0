"""A driver on the real kernel: the same plans, in network namespaces of their own. Needs root, and is skipped without.

A thread goes into a namespace that plays the host, makes there what the driver expects, and lets the driver's network
and endpoints come up and go away. What `ip` and `nft` would show afterwards has to be what it was before. The
witness is pyroute2, which shares no code with what made the links.
"""

# pyright: basic
from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from unittest import SkipTest

from pyroute2 import IPRoute

from netpy.diff import State, diff
from netpy.drivers import Defaults
from netpy.errors import NetpyError
from netpy.kernel import links, netfilter, netns
from netpy.kernel.linux import LinuxKernel
from netpy.model import Endpoint, Network
from netpy.testing.drivers import DriverContract
from netpy.testing.rules import Broken, rule

PLACE = "/run/netpy-contract"
_LINK_SCOPE, _BY_KERNEL = 253, 2  # rtnetlink(7): RT_SCOPE_LINK, RTPROT_KERNEL


class LinuxContract(DriverContract):
    """Derive from this instead of `DriverContract`, or beside it, to try the driver on the real kernel as well."""

    def unasked(self, network: Network, number: int = 1) -> Endpoint:
        endpoint = super().unasked(network, number)
        if endpoint.sandbox.netns.startswith(self.netns):
            endpoint = replace(endpoint, sandbox=replace(endpoint.sandbox, netns=f"{self.netns}{number}"))
        return endpoint

    def test_it_works_on_the_real_kernel(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("the real kernel needs root")
        with ExitStack() as stack:
            self.netns = f"{PLACE}/{secrets.token_hex(4)}-"
            host = f"{self.netns}host"
            for path in (host, f"{self.netns}1", f"{self.netns}2"):
                netns.create(path)
                stack.callback(netns.delete, path)
            netns.run_in(host, self._live)

    def _live(self) -> None:
        backend = netfilter.choose("auto", Defaults().instance)
        kernel = LinuxKernel(backend, Defaults().instance)
        try:
            self._come_and_go(kernel)
        finally:
            kernel.close()

    def _come_and_go(self, kernel: LinuxKernel) -> None:
        expected = kernel.lower(self.host_objects())
        _step("what the driver expects on the host", lambda: kernel.apply(diff((), expected)))
        before = _seen()
        network = self.network()
        one, two = self.endpoint(network, 1), self.endpoint(network, 2)
        try:
            for endpoints in ((), (one,), (one, two)):
                wanted = kernel.lower(self.wanted(network, *endpoints))
                _step("coming up", lambda w=wanted: kernel.apply(diff(kernel.observe(w), w)))
                left = diff(kernel.observe(wanted), wanted)
                rule(not left, "what was made is not what was wanted", "it would be mended for ever", left)
        finally:
            everything: State = kernel.lower(self.wanted(network, one, two))
            _step("going away", lambda: kernel.apply(diff(kernel.observe(everything), ())))
        left = _seen() ^ before
        rule(not left, "the host is not as it was", "nobody would remove what is left", left)
        rule(not kernel.owned() - expected, "something of ours is left", "nobody would remove it", kernel.owned())


def _step(what: str, step: Callable[[], object]) -> None:
    try:
        step()
    except NetpyError as error:
        raise Broken(f"{what}: {error}", "the kernel refuses it") from error


def _seen() -> set[tuple[str, ...]]:
    """Links, addresses and routes of this namespace, read by other code; without what the kernel adds itself."""
    with IPRoute() as route:
        names = {
            link["index"]: link.get_attr("IFLA_IFNAME")
            for link in route.get_links()
            if link.get_attr("IFLA_GROUP") != links.DOOMED
        }
        addresses = [
            ("address", f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}", names.get(each["index"], ""))
            for each in route.get_addr()
            if each["scope"] != _LINK_SCOPE
        ]
        routes = [
            ("route", f"{each.get_attr('RTA_DST')}/{each['dst_len']}", names.get(each.get_attr("RTA_OIF"), ""))
            for each in route.get_routes()
            if each["proto"] != _BY_KERNEL
        ]
    return {("link", name) for name in names.values()} | {each for each in (*addresses, *routes) if each[2]}

"""A driver on the real kernel: the same plans, in network namespaces of their own. Needs root, and is skipped without.

A thread goes into a namespace that plays the host, makes there what the driver expects, and lets the driver's network
and endpoints come up and go away. What `ip` and `nft` would show afterwards has to be what it was before.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from unittest import SkipTest

from netpy.diff import State, diff
from netpy.drivers import Defaults
from netpy.errors import NetpyError
from netpy.kernel import links, netfilter, netns
from netpy.kernel import rtnetlink as rt
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.rtnetlink import Channel, Message
from netpy.model import Endpoint, Network
from netpy.testing.drivers import DriverContract
from netpy.testing.rules import Broken, rule

PLACE = "/run/netpy-contract"


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
        before = _links()
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
        rule(_links() == before, "links are left on the host", "nobody would remove them", _links() - before)
        rule(not kernel.owned() - expected, "something of ours is left", "nobody would remove it", kernel.owned())


def _step(what: str, step: Callable[[], object]) -> None:
    try:
        step()
    except NetpyError as error:
        raise Broken(f"{what}: {error}", "the kernel refuses it") from error


def _links() -> set[str]:
    with Channel() as channel:
        replies = channel.dump(Message(rt.GETLINK, 0, bytes(16)))
    return {link.name for reply in replies if (link := links.described(reply)).group != links.DOOMED}

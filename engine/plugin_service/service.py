"""`netpy plugin serve`: the composition root of netpy as Docker's plugin. Holds no logic.

    locks ▸ store ▸ kernel (firewall backend) ▸ driver ▸ controller ▸ watch ▸ socket

It has a store and an instance of its own, so it runs beside a netpy daemon. When it ends, networks and containers stay
as they are; the next one takes over from the store.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import cast

from engine import listening
from engine.api.server import Server
from engine.plugin_service.addresses import AddressCalls
from engine.plugin_service.answering import Answering
from engine.plugin_service.calls import Ids, NetworkCalls
from engine.plugin_service.handing import HandedOver, near_end
from engine.tenancy import Tenancy
from netpy import Controller, Sandbox, Settings, Store
from netpy.dns import Record, View
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.errors import NetpyError
from netpy.kernel import netfilter
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.watch.watch import Watch

SOCKETS = Path("/run/docker/plugins")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of `netpy plugin serve`."""

    name: str
    driver: str
    socket: Path
    data_root: Path
    exec_root: Path
    firewall: netfilter.Choice


class NoNames:
    """Stands for the name server: Docker's own resolver answers in its containers."""

    def open(self, sandbox: Sandbox, port: int = 0) -> int:
        return port

    def close(self, sandbox_id: str) -> None:
        pass

    def update(self, *, put: Iterable[Record] = (), drop: Iterable[str] = (), views: Iterable[View] = ()) -> None:
        pass

    def replace(self, records: Iterable[Record], views: Iterable[View]) -> None:
        pass


class Service:
    """Everything of one plugin. Make it, `serve`, `close` it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.stopping = threading.Event()
        self._closers = ExitStack()
        try:
            self._build(f"{options.name}-plugin")
        except BaseException:
            self._closers.close()
            raise

    def _build(self, instance: str) -> None:
        options, closers = self._options, self._closers
        tenancy = Tenancy([options.data_root, options.exec_root], options.exec_root / "pid")
        closers.callback(tenancy.close)
        store = Store(options.data_root / "netpy.db")
        closers.callback(store.close)
        kernel = LinuxKernel(netfilter.choose(options.firewall, instance), instance)
        closers.callback(kernel.close)
        settings = Settings(instance=instance, host_id=f"{socket.gethostname()}/{instance}")
        drivers, ids = Registry(Defaults(instance=instance)), Ids()
        driver = HandedOver(drivers.seek(options.driver))
        drivers.add(driver.name, driver)
        controller = Controller(
            store=store, kernel=kernel, drivers=drivers, names=NoNames(), settings=settings, new_id=ids
        )
        controller.reconcile(_is_alive)
        kernel.moor()
        watch = Watch(instance, controller.mend, kernel.disturbed)
        closers.callback(watch.close)
        watch.start()

        def taken() -> list[str]:
            return [subnet.subnet for network in controller.networks() for subnet in network.subnets]

        addresses = AddressCalls(store, settings.pools(), taken, kernel.host_prefixes)
        calls = NetworkCalls(controller, driver, ids)
        self._answering = Answering({"NetworkDriver": calls, "IpamDriver": addresses})

    def serve(self) -> None:
        """Answer until `stopping` is set. The socket file is there as long as we are ready."""
        listener = listening.listen(self._options.socket, "")
        try:
            logger.info(
                "offering driver %s as %s on %s", self._options.driver, self._options.name, self._options.socket
            )
            Server([listener], self._answering).run(self.stopping)
        finally:
            listening.close_all([listener])
            self._options.socket.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything. What is in the kernel stays."""
        self._closers.close()


def _end_on_signals(stopping: threading.Event) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _is_alive(sandbox: Sandbox) -> bool:
    """Whether the endpoint's pair is still there: its far end went with its container."""
    try:
        return socket.if_nametoindex(near_end(sandbox.id)) > 0
    except OSError:
        return False


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line; ends the process where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="netpy plugin serve",
        description="Offer a driver of netpy's, and its address manager, to a Docker daemon on this machine.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--name", default="netpy", help="what Docker is to call it: docker network create -d NAME")
    parser.add_argument("--driver", default="bridge", help="the driver to offer")
    parser.add_argument("--socket", type=Path, help=f"where to listen (default: {SOCKETS}/NAME.sock)")
    parser.add_argument("--data-root", type=Path, help="where records are kept (default: /var/lib/netpy-plugin/NAME)")
    parser.add_argument("--exec-root", type=Path, help="where run-time files are (default: /run/netpy-plugin/NAME)")
    parser.add_argument(
        "--firewall-backend", default="auto", choices=("auto", "iptables", "nftables"), help="the firewall"
    )
    given = parser.parse_args(arguments)
    name = cast(str, given.name)
    if not name or not all(letter.isalnum() or letter in "_.-" for letter in name) or not name[0].isalnum():
        parser.error(f"invalid name {name!r}: letters, digits, '_', '.' and '-'")
    return Options(
        name=name,
        driver=given.driver,
        socket=given.socket or SOCKETS / f"{name}.sock",
        data_root=given.data_root or Path("/var/lib/netpy-plugin") / name,
        exec_root=given.exec_root or Path("/run/netpy-plugin") / name,
        firewall=given.firewall_backend,
    )


def main(arguments: Sequence[str]) -> int:
    """`netpy plugin serve`, until SIGTERM or SIGINT: the exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for name in ("engine", "netpy"):
        logging.getLogger(name).setLevel("INFO")
    options = parse(arguments)
    try:
        service = Service(options)
        try:
            _end_on_signals(service.stopping)
            service.serve()
        finally:
            service.close()
    except NetpyError as error:
        print(f"netpy plugin serve: {error}", file=sys.stderr)
        return 1
    return 0

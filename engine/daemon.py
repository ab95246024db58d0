"""The composition root: builds every part of the engine, in order, and takes it apart again. Holds no logic.

    locks ▸ store ▸ kernel (firewall backend) ▸ drivers ▸ name server ▸ controller
          ▸ images ▸ runtime ▸ containers ▸ watch ▸ API

Stopping the daemon stops none of its containers: they keep running, with their networks and their names, and the next
daemon on the same root takes over. `kill -9` is no different, but for the requests that it cut off.
"""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

from engine import listening
from engine import settings as configuration
from engine.build.bench import Workshop
from engine.build.builder import Builder
from engine.build.cache import Cache
from engine.containers import Containers, logdrivers
from engine.containers.files import Defaults as FileDefaults
from engine.containers.files import Files
from engine.containers.merging import Defaults as HostDefaults
from engine.containers.parts import Host, Parts, Paths
from engine.containers.records import Records
from engine.containers.timing import Scheduler
from engine.containers.volumes import Volumes
from engine.containers.waiting import Waiters
from engine.events import Events
from engine.images import Images
from engine.images.endpoints import Registries
from engine.images.transports import Skopeo
from engine.opening import WAY_OUT, open_store
from engine.runtime import cgroups, host
from engine.runtime.rotation import Rotation
from engine.runtime.runtime import Runtime
from engine.runtime.views import Views
from engine.runtimes import Runtimes
from engine.settings import Settings
from engine.tenancy import Tenancy, close_to_others
from engine.unfiltered import Unfiltered
from netpy.controller import Controller, Pool
from netpy.controller import Settings as NetworkSettings
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.errors import NetpyError, StoreDamaged, Unsupported
from netpy.kernel import descriptors, netfilter
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.watch.watch import Watch
from netpy.nameserver import Nameserver

logger = logging.getLogger(__name__)
_LEVELS = {"warn": "WARNING", "fatal": "CRITICAL"}


class Daemon:
    """Everything of one daemon. Make it, `start` it, `serve`, `close` it."""

    def __init__(self, settings: Settings) -> None:
        if os.geteuid() != 0:
            raise Unsupported("the netpy daemon needs root: start it with sudo")
        self.settings = settings
        self.stopping = threading.Event()
        self._closers = ExitStack()
        try:
            self._build()
        except BaseException:
            self._closers.close()
            raise

    def _build(self) -> None:
        settings, closers = self.settings, self._closers
        self._files = descriptors.allow_all()
        self._paths = Paths(data_root=settings.data_root, exec_root=settings.exec_root)
        tenancy = Tenancy(dict.fromkeys((settings.data_root, settings.exec_root)), settings.pidfile)  # pyright: ignore[reportArgumentType]
        closers.callback(tenancy.close)
        close_to_others(settings.data_root, settings.exec_root)
        self.events = Events()
        closers.callback(self.events.close)
        self.store = open_store(settings.data_root, salvaging=settings.salvage)
        closers.callback(self.store.close)
        self.kernel = LinuxKernel(self._firewall(), settings.instance)
        closers.callback(self.kernel.close)
        self.nameserver = Nameserver(settings.exec_root, ttl=settings.dns_ttl)
        closers.callback(self._leave_nameserver)
        self.controller = self._controller()
        certificates = (settings.config_file.parent / "certs.d",)
        skopeo = Skopeo(registries=_registries(settings), certificates=certificates)
        self.images = Images(settings.data_root / "images", self.store, skopeo=skopeo)
        self.runtimes = Runtimes(settings.exec_root, settings.runtime)
        closers.callback(self.runtimes.close)
        self.containers = Containers(self._parts())
        closers.callback(self.containers.close)
        self.builder = self._builder()
        self.watch = Watch(settings.instance, self.controller.mend, self.kernel.disturbed)
        closers.callback(self.watch.close)

    def _builder(self) -> Builder:
        paths = self._paths
        return Builder(
            Workshop(
                images=self.images,
                containers=self.containers,
                cache=Cache(self.store, self.images),
                upper=lambda container: paths.layer(container) / "upper",
                keep=self.settings.data_root / "build-mounts",
                new_id=lambda: secrets.token_hex(32),
            )
        )

    def _firewall(self) -> netfilter.Backend:
        settings = self.settings
        backend = netfilter.choose(settings.firewall_backend, settings.instance)
        return backend if settings.iptables else Unfiltered(backend)

    def _controller(self) -> Controller:
        settings = self.settings
        defaults = Defaults(
            instance=settings.instance,
            mtu=settings.mtu,
            icc=settings.icc,
            host_binding=settings.ip,
            direct_routing=settings.allow_direct_routing,
        )
        pools = tuple(Pool(base=pool.base, size=pool.size) for pool in settings.default_address_pools)
        self.drivers = Registry(defaults)
        return Controller(
            store=self.store,
            kernel=self.kernel,
            drivers=self.drivers,
            names=self.nameserver,
            settings=NetworkSettings(
                instance=settings.instance,
                default_pools=pools or NetworkSettings().default_pools,
                default_bridge=settings.default_bridge,
                bip=settings.bip,
                host_binding=settings.ip,
                ip_forward=settings.ip_forward,
                icc=settings.icc,
                mtu=settings.mtu,
                masquerade=settings.ip_masq,
                host_id=f"{_machine_id()}/{settings.instance}",
            ),
        )

    def _parts(self) -> Parts:
        settings, paths = self.settings, self._paths
        hierarchy = cgroups.detect()
        facts = host.facts(hierarchy, self._files)
        records = Records(self.store)

        volumes = Volumes(settings.data_root / "volumes", self.store, now, records.mounting, self._tell_of_volume)
        files = Files(
            paths.home,
            FileDefaults(
                dns=settings.dns,
                search=settings.dns_search,
                options=settings.dns_options,
                gateways=self._host_gateways,
            ),
        )
        defaults = HostDefaults(
            shm_size=settings.default_shm_size,
            runtime=self.runtimes.default,
            cgroup_namespace="private" if facts.private_cgroup else "host",
            log=logdrivers.default(settings.log_driver, settings.log_opts),
        )
        return Parts(
            controller=self.controller,
            kernel=self.kernel,
            images=self.images,
            runtimes=self.runtimes.find,
            mounter=Views(),
            events=self.events,
            records=records,
            waiters=Waiters(),
            volumes=volumes,
            files=files,
            scheduler=Scheduler(),
            rotation=Rotation(),
            paths=paths,
            host=Host(facts=facts, hierarchy=hierarchy, defaults=defaults, dns=settings.dns),
            now=now,
            new_id=lambda: secrets.token_hex(32),
        )

    @property
    def runtime(self) -> Runtime:
        """The runtime that containers are made with unless they ask for another."""
        return self.runtimes.find(self.runtimes.default)

    @property
    def runtime_name(self) -> str:
        """The OCI runtime in use: `crun` or `runc`."""
        return self.runtimes.default

    @property
    def firewall_name(self) -> str:
        """The firewall backend in use: `nftables` or `iptables`."""
        return self.kernel.firewall

    @property
    def driver_names(self) -> list[str]:
        """Every network driver that can be asked for."""
        return self.controller.driver_names()

    @property
    def volumes(self) -> Volumes:
        """The volumes of containers."""
        return self.containers.volumes

    def start(self) -> None:
        """Take over from an earlier daemon, bring the kernel in line, make the networks that are always there."""
        self.controller.ensure_predefined()
        self.containers.recover()
        self.kernel.moor()
        self.watch.start()
        # What is there now stays: no search for garbage need go through it again.
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Answer requests until `stop`. Socket files are made now: a client that finds one finds a ready daemon."""
        from engine import api

        sockets = listening.open_all(self.settings.addresses, self.settings.group)
        try:
            logger.info("API listen on %s", ", ".join(self.settings.addresses))
            api.serve(self, sockets, self.stopping)
        finally:
            listening.close_all(sockets)
            listening.remove_files(self.settings.addresses)

    def stop(self) -> None:
        """Have `serve` return."""
        self.stopping.set()

    def reload(self) -> None:
        """SIGHUP: labels, log level and registries from the configuration file."""
        try:
            self.settings = configuration.reloaded(self.settings)
            _set_level(self.settings)
            self.images.registry.configure(_registries(self.settings))
            logger.info("configuration reloaded: %s", self.settings.config_file)
        except NetpyError as error:
            logger.error("configuration not reloaded: %s", error)

    def close(self) -> None:
        """Let go of everything. Containers and the name server keep running."""
        self._closers.close()

    def _leave_nameserver(self) -> None:
        """It goes on as long as a container asks it; with nobody to serve it ends with us."""
        if self.nameserver.served():
            self.nameserver.disconnect()
        else:
            self.nameserver.shutdown()

    def _tell_of_volume(self, action: str, name: str, attributes: Mapping[str, str]) -> None:
        self.events.publish("volume", action, name, attributes)

    def _host_gateways(self) -> Sequence[str]:
        """What host-gateway stands for: the addresses of the default bridge, unless told otherwise."""
        if self.settings.host_gateway_ips:
            return self.settings.host_gateway_ips
        return [subnet.gateway for subnet in self.controller.network("bridge").subnets if subnet.gateway]


def now() -> str:
    """The time as RFC 3339 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def _registries(settings: Settings) -> Registries:
    return Registries(insecure=settings.insecure_registries, mirrors=settings.registry_mirrors, addresses=_addresses)


def _addresses(host: str) -> list[str]:
    """What a name resolves to; nothing when it does not."""
    with suppress(OSError):
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return []


def _machine_id() -> str:
    """What tells this machine from others: their private IPv6 prefixes shall differ."""
    with suppress(OSError):
        return Path("/etc/machine-id").read_text().strip()
    return socket.gethostname()


def run(settings: Settings) -> None:
    """A whole daemon, until SIGTERM or SIGINT. Raises NetpyError when it cannot start."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    _set_level(settings)
    daemon = Daemon(settings)
    try:
        _handle_signals({signal.SIGTERM: daemon.stop, signal.SIGINT: daemon.stop, signal.SIGHUP: daemon.reload})
        daemon.start()
        daemon.serve()
        logger.info("stopping; containers keep running")
    finally:
        daemon.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """`netpy daemon`, and `python -m engine.daemon`: the exit code."""
    try:
        run(configuration.parse(sys.argv[1:] if arguments is None else arguments))
    except NetpyError as error:
        print(f"netpy daemon: {error}", file=sys.stderr)
        if isinstance(error, StoreDamaged):
            print(f"netpy daemon: {WAY_OUT}", file=sys.stderr)
        return 1
    return 0


def _handle_signals(actions: dict[signal.Signals, Callable[[], None]]) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        actions[signal.Signals(number)]()

    for number in actions:
        signal.signal(number, handle)


def _set_level(settings: Settings) -> None:
    """The level is for our own messages: what libraries say below a warning helps nobody."""
    for name in ("engine", "netpy", __name__):
        logging.getLogger(name).setLevel(_LEVELS.get(settings.log_level, settings.log_level.upper()))


if __name__ == "__main__":
    sys.exit(main())

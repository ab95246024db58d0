"""The routes of networks: list, inspect, create, connect, disconnect, remove, prune; and our own check and repair.

Decodes Docker's bodies into specs and settings, calls the controller (or the containers, where a container is
concerned), and tells the events. No rule about networks is decided here. No I/O of its own.
"""

from __future__ import annotations

import time

from engine.api import filters
from engine.api.announcements import tell_pruned
from engine.api.backend import Daemon
from engine.api.decode import flag_of, object_of, objects_of, strings_of, text_of
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.api.shapes import ENDPOINT, checked
from engine.api.views import networks as views
from engine.model import Json
from netpy import render
from netpy.errors import InvalidArgument, Unsupported
from netpy.model import Network, NetworkSpec, SubnetSpec


class Networks:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/networks", self.list),
            Route("POST", "/networks/create", self.create),
            Route("POST", "/networks/prune", self.prune),
            Route("GET", "/networks/{id}", self.inspect),
            Route("DELETE", "/networks/{id}", self.remove),
            Route("POST", "/networks/{id}/connect", self.connect),
            Route("POST", "/networks/{id}/disconnect", self.disconnect),
            Route("GET", "/netpy/check", self.check),
            Route("POST", "/netpy/repair", self.repair),
        ]

    def list(self, request: Request) -> Reply:
        """Equivalent: `docker network ls`."""
        passes = filters.network_filter(request.query.filters(), self._in_use)
        return document([views.inspect(network) for network in self._daemon.controller.networks() if passes(network)])

    def inspect(self, request: Request) -> Reply:
        """Equivalent: `docker network inspect`."""
        network = self._daemon.controller.network(request.params["id"])
        if request.query.text("scope", "local") not in ("", "local"):
            return document({"message": f"network {request.params['id']} not found"}, status=404)
        return document(views.inspect(network, self._daemon.controller.endpoints(network_id=network.id)))

    def create(self, request: Request) -> Reply:
        """Equivalent: `docker network create`. With `dryrun`, the plan and nothing else."""
        spec = network_spec(request.json())
        if request.query.flag("dryrun"):
            return document({"Plan": render.plan(self._daemon.controller.plan_network(spec))})
        network = self._daemon.controller.create_network(spec)
        self._tell("create", network)
        return document({"Id": network.id, "Warning": ""}, status=201)

    def remove(self, request: Request) -> Reply:
        """Equivalent: `docker network rm`."""
        network = self._daemon.controller.network(request.params["id"])
        try:
            self._daemon.controller.remove_network(network.id)
        except ExceptionGroup:  # the kernel kept something of it: that is told, but the network is gone
            self._tell("destroy", network)
            raise
        self._tell("destroy", network)
        return empty(204)

    def prune(self, request: Request) -> Reply:
        """Equivalent: `docker network prune`."""
        passes = filters.prune_filter(request.query.filters(), time.time())
        known = {network.name: network for network in self._daemon.controller.networks()}
        pruned = self._daemon.controller.prune_networks(lambda n: not passes(n.created, n.spec.labels))
        for name in pruned:
            if name in known:
                self._tell("destroy", known[name])
        tell_pruned(self._daemon, "network", 0)
        return document({"NetworksDeleted": pruned})

    def connect(self, request: Request) -> Reply:
        """Equivalent: `docker network connect`. With `dryrun`, the plan and nothing else."""
        body = request.json()
        network, container = request.params["id"], _container(body)
        settings = checked(object_of(body, "EndpointConfig"), ENDPOINT, "EndpointConfig")
        if request.query.flag("dryrun"):
            return document({"Plan": self._daemon.containers.plan_connect(network, container, settings)})
        self._daemon.containers.connect(network, container, settings)
        return empty()

    def disconnect(self, request: Request) -> Reply:
        """Equivalent: `docker network disconnect`."""
        body = request.json()
        force = flag_of(body, "Force")
        self._daemon.containers.disconnect(request.params["id"], _container(body), force=force)
        return empty()

    def check(self, request: Request) -> Reply:
        """What the kernel has, compared with what it should have. Changes nothing."""
        return document({"Drift": self._daemon.controller.check()})

    def repair(self, request: Request) -> Reply:
        """Mend what `check` would report."""
        return document({"Repaired": self._daemon.controller.repair()})

    def _in_use(self, network: Network) -> bool:
        return bool(self._daemon.controller.endpoints(network_id=network.id))

    def _tell(self, action: str, network: Network) -> None:
        attributes = {"name": network.name, "type": network.spec.driver}
        self._daemon.events.publish("network", action, network.id, attributes)


def network_spec(body: Json) -> NetworkSpec:
    """A NetworkSpec from the body of POST /networks/create."""
    for name in ("Ingress", "ConfigOnly"):
        if flag_of(body, name):
            raise Unsupported(f"networks with {name} belong to swarm mode, which is not supported")
    if object_of(body, "ConfigFrom").get("Network"):
        raise Unsupported("networks with ConfigFrom belong to swarm mode, which is not supported")
    if text_of(body, "Scope") not in ("", "local"):
        raise Unsupported(f"network scope {text_of(body, 'Scope')!r} is not supported: local is the only one")
    ipam = object_of(body, "IPAM")
    return NetworkSpec(
        name=text_of(body, "Name"),
        driver=text_of(body, "Driver") or "bridge",
        subnets=tuple(_subnet(entry) for entry in objects_of(ipam, "Config")),
        ipv4=flag_of(body, "EnableIPv4", default=True),
        ipv6=flag_of(body, "EnableIPv6"),
        internal=flag_of(body, "Internal"),
        attachable=flag_of(body, "Attachable"),
        ipam_driver=text_of(ipam, "Driver") or "default",
        ipam_options=strings_of(ipam, "Options"),
        ipam_options_stated=ipam.get("Options") is not None,
        options=strings_of(body, "Options"),
        labels=strings_of(body, "Labels"),
    )


def _subnet(entry: Json) -> SubnetSpec:
    return SubnetSpec(
        subnet=text_of(entry, "Subnet"),
        ip_range=text_of(entry, "IPRange"),
        gateway=text_of(entry, "Gateway"),
        aux_addresses=strings_of(entry, "AuxiliaryAddresses"),
    )


def _container(body: Json) -> str:
    container = text_of(body, "Container")
    if not container:
        raise InvalidArgument("invalid JSON: Container names no container")
    return container

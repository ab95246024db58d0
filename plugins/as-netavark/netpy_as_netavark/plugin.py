"""`setup` and `teardown`: one container in and out of one network. Decides what to call, and when a network goes.

podman keeps the networks; netpy hears of one when a container joins it. So `setup` makes a network that is not there
yet, and `teardown` removes one that nobody uses any more. I/O: through the controller.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from netpy import Controller, NetpyError, Network, Sandbox
from netpy.oneshot import Session, detach_gone
from netpy_as_netavark.messages import Call, Json, network_name, network_spec, status


def setup(session: Session, call: Call, netns: str) -> Json:
    """Plug the container in; the status document. Undone when it fails."""
    controller = session.controller
    network = _network(controller, call)
    _forget_former(controller, call, netns, network)
    made = network is None
    if network is None:
        network = controller.create_network(network_spec(call.network))
    try:
        names = call.resolve and session.drivers.get(network.spec.driver).traits.names
        sandbox = Sandbox(id=call.container, netns=netns, dns=call.dns, resolve=names)
        (endpoint,) = controller.attach(sandbox, [(network.id, call.spec)])
    except BaseException:
        if made:
            _quietly(lambda: controller.remove_network(network.id))
        raise
    return status(network, endpoint, names=names)


def teardown(session: Session, call: Call) -> None:
    """Unplug the container; nothing happens where it is not plugged in. ExceptionGroup says what would not go."""
    controller = session.controller
    network = _network(controller, call)
    if network is None:
        return
    errors: list[Exception] = []
    for step in (
        lambda: controller.detach(call.container, network.id),
        lambda: None if controller.endpoints(network_id=network.id) else controller.remove_network(network.id),
    ):
        try:
            step()
        except ExceptionGroup as group:
            errors += group.exceptions
    if errors:
        raise ExceptionGroup(f"network {call.network['name']}", errors)


def _network(controller: Controller, call: Call) -> Network | None:
    """The network as netpy knows it."""
    name = network_name(call.network)
    return next((each for each in controller.networks() if each.name == name), None)


def _forget_former(controller: Controller, call: Call, netns: str, network: Network | None) -> None:
    """Drop what podman lost without a word: this container's earlier life, and containers that are gone."""
    former = controller.endpoints(sandbox_id=call.container)
    if former and former[0].sandbox.netns != netns:
        _quietly(lambda: controller.detach(call.container))
    if network is not None:
        detach_gone(controller, [each.sandbox.id for each in controller.endpoints(network_id=network.id)])


def _quietly(step: Callable[[], object]) -> None:
    with suppress(NetpyError, ExceptionGroup):
        step()

"""What the controller's tests share: short requests, and a machine with something going on."""

from __future__ import annotations

from netpy.model import EndpointSpec, NetworkSpec, PortBinding, Sandbox
from netpy.objects import Route
from netpy.testing import Machine, machine

PORTS = (
    PortBinding(container_port=80, host_port=8800),
    PortBinding(protocol="udp", container_port=53),
)


def spec(name: str, **more) -> NetworkSpec:
    return NetworkSpec(name=name, **more)


def web(name: str = "web", **more) -> EndpointSpec:
    return EndpointSpec(name=name, names=more.pop("names", (name, name[:2])), **more)


def port(container: int, host: int = 0, ip: str = "", protocol="tcp", end: int = 0) -> PortBinding:
    return PortBinding(protocol=protocol, container_port=container, host_ip=ip, host_port=host, host_port_end=end)


def objects(m: Machine, kind: type) -> list:
    return [obj for obj in m.kernel.objects.values() if isinstance(obj, kind)]


def default_route(m: Machine, sandbox: Sandbox, destination: str = "0.0.0.0/0") -> str:
    found = [o.link for o in objects(m, Route) if o.netns == sandbox.netns and o.destination == destination]
    return found[0] if found else ""


def busy_machine() -> Machine:
    """Three networks and a sandbox on one of them, whose gateway and ports the next attach takes over."""
    m = machine()
    m.controller.create_network(NetworkSpec(name="a", ipv6=True))
    m.controller.create_network(NetworkSpec(name="b", ipv6=True))
    m.controller.create_network(NetworkSpec(name="c", internal=True))
    m.controller.attach(m.sandbox(1), [("a", web(ports=PORTS))])
    m.sandbox(2)
    return m


def take_over(m: Machine) -> None:
    m.controller.attach(m.sandbox(1), [("b", web(gateway_priority=1)), ("c", web())])


def join(m: Machine) -> None:
    m.controller.attach(m.sandbox(2), [("bridge", web("two")), ("a", web("two", ports=(PORTS[1],)))])


def create(m: Machine) -> None:
    m.controller.create_network(NetworkSpec(name="new", ipv6=True))

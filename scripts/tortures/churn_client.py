"""Carries the churn's steps out over the API, and holds the daemon's answers against what must be there.

Ports are asked from outside of the host, names from inside of the containers' namespaces, with packets.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import dnslib

from engine.client import ApiError, Client
from netpy.kernel import netns
from scripts.tortures.churn_model import Box, Lane, Step, follow, last_steps, next_step
from tests.e2e.world import HOST_ADDRESS, Daemon, World

REFUSALS = {
    "start what is not there": (404,),
    "take a name that is taken": (409,),
    "publish a port that is taken": (500,),
    "plug into nothing": (404,),
    "plug in twice": (403, 409),
    "remove what runs": (409,),
    "remove a network in use": (403, 409),
    "make a network again": (409,),
    "run no such image": (404,),
    "execute in what is stopped": (409,),
}


Request = tuple[str, str, dict[str, object] | None, object]
_PLAIN: dict[str, Callable[[Step], Request]] = {
    "stop": lambda step: ("POST", f"/containers/{step.box}/stop", {"t": 0}, None),
    "restart": lambda step: ("POST", f"/containers/{step.box}/restart", {"t": 0}, None),
    "start": lambda step: ("POST", f"/containers/{step.box}/start", None, None),
    "remove": lambda step: ("DELETE", f"/containers/{step.box}", {"force": True, "v": True}, None),
    "rename": lambda step: ("POST", f"/containers/{step.box}/rename", {"name": step.name}, None),
    "make": lambda step: ("POST", "/networks/create", None, {"Name": step.network}),
    "drop": lambda step: ("DELETE", f"/networks/{step.network}", None, None),
}
_BLUNDERS: dict[str, Callable[[Step], Request]] = {
    "start what is not there": lambda _: ("POST", "/containers/nobody/start", None, None),
    "take a name that is taken": lambda step: ("POST", "/containers/create", {"name": step.box}, {"Image": "busybox"}),
    "plug into nothing": lambda step: ("POST", "/networks/nothing/connect", None, {"Container": step.box}),
    "plug in twice": lambda step: ("POST", f"/networks/{step.network}/connect", None, {"Container": step.box}),
    "remove what runs": lambda step: ("DELETE", f"/containers/{step.box}", None, None),
    "remove a network in use": lambda step: ("DELETE", f"/networks/{step.network}", None, None),
    "make a network again": lambda step: ("POST", "/networks/create", None, {"Name": step.network}),
    "run no such image": lambda _: ("POST", "/containers/create", None, {"Image": "none-such"}),
    "execute in what is stopped": lambda step: ("POST", f"/containers/{step.box}/exec", None, {"Cmd": ["true"]}),
}


PATIENCE = 10.0  # seconds until a program that has been started listens


class Refused(AssertionError):
    """A step that should have succeeded did not, or the other way round."""


class Walker:
    """One client that goes along its lane."""

    def __init__(self, lane: Lane, daemon: Daemon) -> None:
        self.lane = lane
        self.steps = 0
        self.mistakes = 0
        self._client = Client(daemon.environment["NETPY_HOST"])

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            self._take(next_step(self.lane))

    def walk_until(self, begun: int) -> None:
        while self.lane.begun < begun:
            self._take(next_step(self.lane))

    def leave(self) -> None:
        """Remove everything."""
        for step in last_steps(self.lane):
            self._take(step)

    def close(self) -> None:
        self._client.close()

    def _take(self, step: Step) -> None:
        self.steps += 1
        try:
            self._wrong(step) if step.verb == "wrong" else self._right(step)
        except ApiError as error:
            raise Refused(f"{step}: {error.status} {error.message}") from error
        follow(self.lane, step)

    def _right(self, step: Step) -> None:
        where = f"/containers/{step.box}"
        match step.verb:
            case "run":
                alias = f"alias{self.lane.number}-{(self.lane.begun + 1) % 5}"
                self._run(step.box, step.network, step.ports, alias)
            case "exec":
                self._execute(where)
            case "kill":
                self._ask("POST", f"{where}/kill")
                self._ask("POST", f"{where}/wait")
            case "connect" | "disconnect":
                settings = {"Aliases": [self.lane.boxes[step.box].alias]}
                body = {"Container": step.box, "EndpointConfig": settings if step.verb == "connect" else None}
                self._ask("POST", f"/networks/{step.network}/{step.verb}", body=body)
            case _:
                self._ask(*_PLAIN[step.verb](step))

    def _wrong(self, step: Step) -> None:
        self.mistakes += 1
        try:
            self._blunder(step)
        except ApiError as error:
            if error.status in REFUSALS[step.what]:
                return
            raise
        raise Refused(f"{step} succeeded")

    def _blunder(self, step: Step) -> None:
        match step.what:
            case "publish a port that is taken":
                name = f"late{self.lane.number}"
                try:
                    self._run(name, step.network, step.ports, name)
                finally:
                    self._ask("DELETE", f"/containers/{name}", {"force": True})
            case _:
                self._ask(*_BLUNDERS[step.what](step))

    def _run(self, name: str, network: str, ports: tuple[int, ...], alias: str) -> None:
        body = {
            "Image": "busybox",
            "Hostname": name,
            "Cmd": ["httpd", "-f", "-p", "80", "-h", "/etc"],
            "StopSignal": "KILL",
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {
                "NetworkMode": network,
                "PortBindings": {"80/tcp": [{"HostPort": str(port)} for port in ports]} if ports else {},
            },
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [alias]}}},
        }
        self._ask("POST", "/containers/create", {"name": name}, body)
        self._ask("POST", f"/containers/{name}/start")

    def _execute(self, where: str) -> None:
        body = {"Cmd": ["true"], "AttachStdout": True}
        id = self._ask("POST", f"{where}/exec", body=body)["Id"]
        with self._client.hijack(f"/exec/{id}/start", body={"Detach": False, "Tty": False}) as stream:
            while stream.recv(4096):
                pass
        code = self._ask("GET", f"/exec/{id}/json")["ExitCode"]
        if code != 0:
            raise Refused(f"exec of true in {where} ended with {code}")

    def _ask(self, method: str, path: str, query: Mapping[str, object] | None = None, body: object = None) -> Any:
        with self._client.request(method, path, query, body) as response:
            content = response.read()
        return json.loads(content) if content.strip() else None


class Auditor:
    """Asks the daemon, the name server and the ports what there is."""

    def __init__(self, world: World, daemon: Daemon) -> None:
        self._world = world
        self._client = Client(daemon.environment["NETPY_HOST"])
        self.answers = 0

    def audit(self, lanes: list[Lane]) -> list[str]:
        """Everything that is not as the lanes expect it, a line each."""
        wrong: list[str] = []
        drift = self._get("/netpy/check")["Drift"]
        wrong += [f"drift: {line}" for line in drift]
        shown = {each["Names"][0][1:]: each["State"] for each in self._get("/containers/json?all=1")}
        boxes = {name: box for lane in lanes for name, box in lane.boxes.items()}
        expected = {name: box.running for name, box in boxes.items()}
        found = {name: state == "running" for name, state in shown.items()}
        if found != expected:
            wrong.append(f"containers differ: {sorted(expected.items() ^ found.items())}")
        networks = {each["Name"] for each in self._get("/networks")} - {"bridge", "host", "none"}
        if networks != set().union(*(lane.networks for lane in lanes)):
            wrong.append(f"networks differ: {sorted(networks)}")
        self.answers += 3
        for lane in lanes:
            wrong += self._audit_boxes(list(lane.boxes.values()))
        return wrong

    def _audit_boxes(self, boxes: list[Box]) -> list[str]:
        wrong: list[str] = []
        addresses: dict[str, dict[str, str]] = {}
        running = [box for box in boxes if box.running]
        keys: dict[str, str] = {}
        for box in boxes:
            settings = self._get(f"/containers/{box.name}/json")["NetworkSettings"]
            addresses[box.name] = {name: each["IPAddress"] for name, each in settings["Networks"].items()}
            keys[box.name] = settings["SandboxKey"]
            if set(addresses[box.name]) != box.networks:
                wrong.append(f"{box.name} is on {sorted(addresses[box.name])}, not {sorted(box.networks)}")
            self.answers += 1
        for box in running:
            wrong += [f"port {port}: {said}" for port in box.ports if (said := self._port(port)) != box.hostname]
            self.answers += len(box.ports)
        for box in running:
            for other in running:
                wrong += self._names(keys[box.name], box, other, running, addresses)
        return wrong

    def _names(
        self, key: str, box: Box, other: Box, running: list[Box], addresses: dict[str, dict[str, str]]
    ) -> list[str]:
        """The alias of another, as `box` is told it: all who bear it on the first network that knows it."""
        namesakes = [each for each in running if each.alias == other.alias]
        shared = box.networks & {network for each in namesakes for network in each.networks}
        possible = [
            {addresses[each.name][network] for each in namesakes if network in each.networks} for network in shared
        ]
        self.answers += 1
        if not possible:
            return []
        found = resolved(key, other.alias)
        return [] if found in possible else [f"{other.alias} in {box.name}: {sorted(found)}, not one of {possible}"]

    def _port(self, port: int) -> str:
        """What the container behind a published port calls itself, asked from outside."""

        def ask() -> str:
            connection = http.client.HTTPConnection(HOST_ADDRESS, port, timeout=5)
            try:
                connection.request("GET", "/hostname")
                return connection.getresponse().read().decode().strip()
            finally:
                connection.close()

        until = time.monotonic() + PATIENCE
        while True:
            try:
                return netns.run_in(self._world.outside, ask)
            except OSError as error:  # what was started just now may not listen yet
                if time.monotonic() > until:
                    return str(error)
            time.sleep(0.05)

    def _get(self, path: str) -> Any:
        with self._client.request("GET", path.partition("?")[0], {"all": True} if "?" in path else None) as response:
            return response.json()

    def close(self) -> None:
        self._client.close()


def resolved(key: str, name: str) -> set[str]:
    """The addresses of a name, as a container at the namespace `key` is told them."""

    def ask() -> set[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.sendto(dnslib.DNSRecord.question(name).pack(), ("127.0.0.11", 53))
            return {str(each.rdata) for each in dnslib.DNSRecord.parse(asking.recv(4096)).rr}

    try:
        return netns.run_in(key, ask)
    except OSError as error:
        return {str(error)}

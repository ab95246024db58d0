"""A Docker network and IPAM plugin for tests, written from the protocol's text: it shares no code with the adapter.

With `links` it makes a bridge for each network and a veth pair for each endpoint, in the namespace it runs in; without,
it only answers. What it is to do wrong is read, at each call, from a JSON file: {"NetworkDriver.Join": "die"}. The
calls are written down in another file, a line each. As a program: docker_plugin_server.py SOCKET CONTROL LOG [links].
"""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

MAC = "02:99:00:00:00:01"


class Network:
    """What NetworkDriver is asked, carried out."""

    def __init__(self, links: bool, source: str = "") -> None:
        self.links, self.source = links, source
        self.networks: dict[str, dict] = {}
        self.endpoints: dict[str, dict] = {}

    def ip(self, words: str) -> None:
        if self.links:
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)

    def GetCapabilities(self, body: dict) -> dict:
        return {"Scope": "local", "ConnectivityScope": "local"}

    def CreateNetwork(self, body: dict) -> dict:
        id = body["NetworkID"]
        if id in self.networks:
            return {"Err": f"network {id} exists"}
        self.networks[id] = body
        bridge = f"dk{id[:8]}"
        self.ip(f"link add {bridge} type bridge")
        self.ip(f"link set {bridge} up")
        for pool in body["IPv4Data"]:
            if "Gateway" in pool:
                self.ip(f"addr add {pool['Gateway']} dev {bridge}")
        return {}

    def DeleteNetwork(self, body: dict) -> dict:
        id = body["NetworkID"]
        if self.networks.pop(id, None) is None:
            return {"Err": f"no network {id}"}
        self.ip(f"link del dk{id[:8]}")
        return {}

    def CreateEndpoint(self, body: dict) -> dict:
        network, id = body["NetworkID"], body["EndpointID"]
        if network not in self.networks and self.links:
            return {"Err": f"no network {network}"}
        self.endpoints[id] = body
        near, far = f"p{id[:7]}", f"q{id[:7]}"
        self.ip(f"link add {near} type veth peer name {far}")
        self.ip(f"link set {near} master dk{network[:8]} up")
        blank = not body["Interface"]["MacAddress"]
        return {"Interface": {"MacAddress": MAC if blank and not self.links else ""}}

    def DeleteEndpoint(self, body: dict) -> dict:
        if self.endpoints.pop(body["EndpointID"], None) is None:
            return {"Err": f"no endpoint {body['EndpointID']}"}
        self.ip(f"link del p{body['EndpointID'][:7]}")
        return {}

    def EndpointOperInfo(self, body: dict) -> dict:
        known = body["EndpointID"] in self.endpoints
        return {"Value": {"color": "blue"}} if known else {"Err": f"no endpoint {body['EndpointID']}"}

    def Join(self, body: dict) -> dict:
        endpoint = self.endpoints.get(body["EndpointID"])
        if endpoint is None:
            return {"Err": "no such endpoint"}
        pools = self.networks.get(body["NetworkID"], {}).get("IPv4Data") or [{}]
        return {
            "InterfaceName": {"SrcName": self.source or f"q{body['EndpointID'][:7]}", "DstPrefix": "plug"},
            "Gateway": pools[0].get("Gateway", "").partition("/")[0],
            "StaticRoutes": [{"Destination": "10.77.0.0/16", "RouteType": 1, "NextHop": ""}],
        }

    def Leave(self, body: dict) -> dict:
        return {} if body["EndpointID"] in self.endpoints else {"Err": "no such endpoint"}

    def ProgramExternalConnectivity(self, body: dict) -> dict:
        return {}

    def RevokeExternalConnectivity(self, body: dict) -> dict:
        return {}


class Ipam:
    """What IpamDriver is asked: one pool, 10.123.0.0/16, addresses counted up."""

    def __init__(self) -> None:
        self.pools: dict[str, set[str]] = {}

    def GetCapabilities(self, body: dict) -> dict:
        return {"RequiresMACAddress": True, "RequiresRequestReplay": False}

    def GetDefaultAddressSpaces(self, body: dict) -> dict:
        return {"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "there"}

    def RequestPool(self, body: dict) -> dict:
        if body["AddressSpace"] != "here":
            return {"Error": "invalid address space"}
        pool = body["Pool"] or f"10.{123 + len(self.pools)}.0.0/16"
        self.pools[pool] = set()
        return {"PoolID": pool, "Pool": pool, "Data": {}}

    def ReleasePool(self, body: dict) -> dict:
        return {} if self.pools.pop(body["PoolID"], None) is not None else {"Error": "no such pool"}

    def RequestAddress(self, body: dict) -> dict:
        taken = self.pools[body["PoolID"]]
        prefix = body["PoolID"].rpartition(".0/")[0]
        bare = body["Address"] or next(a for n in range(1, 250) if (a := f"{prefix}.{n}") not in taken)
        taken.add(bare)
        return {"Address": f"{bare}/{body['PoolID'].partition('/')[2]}", "Data": {}}

    def ReleaseAddress(self, body: dict) -> dict:
        self.pools.get(body["PoolID"], set()).discard(body["Address"])
        return {}


class Plugin:
    """The server, its faults and its memory. `stop` lets go of the socket; `released` ends answers that hang."""

    def __init__(self, socket: Path, control: Path, log: Path, *, links: bool = False, source: str = "") -> None:
        self.control, self.log = control, log
        self.network, self.ipam = Network(links, source), Ipam()
        self.implements = ["NetworkDriver", "IpamDriver"]
        self.released = threading.Event()
        self.lock = threading.Lock()
        socket.unlink(missing_ok=True)
        handler = type("Bound", (Handler,), {"plugin": self})
        self.server = socketserver.ThreadingUnixStreamServer(str(socket), handler)
        self.server.daemon_threads = True
        self.socket = socket

    def start(self) -> Plugin:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.socket.unlink(missing_ok=True)

    def fault(self, call: str) -> str:
        try:
            return json.loads(self.control.read_text()).get(call, "")
        except FileNotFoundError:
            return ""

    def break_(self, **faults: str) -> None:
        self.control.write_text(json.dumps({name.replace("__", "."): fault for name, fault in faults.items()}))

    def calls(self) -> list[tuple[str, dict]]:
        if not self.log.exists():
            return []
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()]

    def names(self) -> list[str]:
        return [name.partition(".")[2] for name, _ in self.calls() if name.startswith("NetworkDriver.")]

    def answer(self, call: str, body: dict) -> dict:
        if call == "Plugin.Activate":
            return {"Implements": self.implements}
        part, _, method = call.partition(".")
        with self.lock:
            return getattr(self.network if part == "NetworkDriver" else self.ipam, method)(body)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    plugin: Plugin

    def do_POST(self) -> None:
        plugin, call = self.plugin, self.path.lstrip("/")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        with plugin.lock, plugin.log.open("a") as log:
            log.write(json.dumps([call, body]) + "\n")
        fault = plugin.fault(call)
        if fault == "die":
            os._exit(9)
        if fault == "hang":
            plugin.released.wait()
            return
        if fault == "hangup":
            return
        refusal = {"Error" if call.startswith("Ipam") else "Err": "the plugin will not"}
        document = refusal if fault == "err" else plugin.answer(call, body)
        if fault.startswith("{"):
            document |= json.loads(fault)
        self._send(fault, json.dumps(document).encode())

    def _send(self, fault: str, content: bytes) -> None:
        status = 500 if fault == "status" else 404 if fault == "404" else 200
        kind = "application/vnd.docker.plugins.v1.2+json"
        if fault in {"garbage", "status"}:
            content = b"\x00\xff this is not JSON"
        if fault == "html":
            kind, content = "text/html", b"<html>It works!</html>"
        if fault == "short":
            content = content[:-1]
        if fault == "list":
            content = b"[1, 2]"
        if fault == "type":
            kind = "text/html"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) + (10 if fault in {"short", "drip"} else 0)))
        self.end_headers()
        with suppress(OSError):  # whoever asked may have gone
            while fault == "drip" and not self.plugin.released.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()
            self.wfile.write(content)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    where, control, log, *how = sys.argv[1:]
    Plugin(Path(where), Path(control), Path(log), links="links" in how).server.serve_forever()

#!/usr/bin/env python3
"""A netavark plugin, written from its API's description alone: a routed veth pair for each container.

Files beside the executable: `mode` says how it is to misbehave, `journal` is what it was called with, a line each.
"""

import hashlib
import json
import subprocess
import sys
import time
from ipaddress import ip_interface, ip_network
from pathlib import Path

HERE = Path(sys.argv[0]).parent


def mode() -> str:
    file = HERE / "mode"
    return file.read_text() if file.exists() else ""


def ip(*arguments: str, netns: str = "") -> None:
    inside = ["nsenter", f"--net={netns}"] if netns else []
    subprocess.run([*inside, "ip", *arguments], check=True, capture_output=True)


def fail(message: str) -> None:
    print(json.dumps({"error": message}))
    sys.exit(1)


def create(network: dict) -> dict:
    if "colour" in network["options"]:
        fail("unknown option colour")
    if network["ipam_options"].get("driver") != "none":
        asked = network.get("subnets") or [{"subnet": "10.66.0.0/24"}]
        network["subnets"] = [{"gateway": str(ip_network(each["subnet"])[1]), **each} for each in asked]
        network["ipam_options"] = {"driver": "host-local"}
    if mode() == "own-addresses":
        network["ipam_options"] = {"driver": "none"}
    if mode() == "changes-id":
        network["id"] = "0" * 64
    return network


def setup(netns: str, call: dict) -> dict:
    options = call["network_options"]
    name = options["interface_name"]
    address, gateway = "10.77.0.5/24", "10.77.0.1"
    if options["static_ips"]:
        (subnet,) = call["network"]["subnets"]
        address = f"{options['static_ips'][0]}/{ip_network(subnet['subnet']).prefixlen}"
        gateway = subnet["gateway"]
    mac = options.get("static_mac", "02:00:00:aa:bb:cc")
    if mode() != "dry":
        wire(netns, call, (name, address, gateway, mac))
    if mode() == "half":
        fail("no more")
    return {
        "dns_server_ips": ["192.0.2.53"],
        "dns_search_domains": ["example.test"],
        "interfaces": {
            "wrong0" if mode() == "wrong-name" else name: {
                "mac_address": mac,
                "subnets": [{"ipnet": "10.66.0.99/24" if mode() == "other-address" else address, "gateway": gateway}],
            }
        },
    }


def host_name(call: dict) -> str:
    return "nv" + hashlib.sha256((call["container_id"] + call["network"]["id"]).encode()).hexdigest()[:8]


def wire(netns: str, call: dict, wanted: tuple) -> None:
    name, address, gateway, mac = wanted
    host = host_name(call)
    ip("link", "add", host, "type", "veth", "peer", "name", name, "netns", netns, "address", mac)
    ip("addr", "add", f"{gateway}/32", "dev", host)
    ip("link", "set", host, "up")
    ip("route", "add", str(ip_interface(address).ip), "dev", host)
    ip("addr", "add", address, "dev", name, "noprefixroute", netns=netns)  # nobody else is on this wire
    ip("link", "set", name, "up", netns=netns)
    ip("route", "add", gateway, "dev", name, netns=netns)
    ip("route", "add", "default", "via", gateway, netns=netns)


def teardown(call: dict) -> None:
    if mode() == "leak":
        return
    subprocess.run(["ip", "link", "del", host_name(call)], capture_output=True)


def misbehave(command: str) -> None:
    """In one of the ways that need no work."""
    if mode() == f"hang-{command}":
        time.sleep(3600)
    if mode() == f"garbage-{command}":
        sys.exit(print("all is well"))
    if mode() == f"silent-{command}":
        sys.exit()
    if mode() == f"crash-{command}":
        sys.exit("no such thing")


def main() -> None:
    command, *rest = sys.argv[1:]
    given = {} if command == "info" else json.load(sys.stdin)
    with (HERE / "journal").open("a") as journal:
        journal.write(json.dumps({"command": command, "arguments": rest, "given": given}) + "\n")
    misbehave(command)
    if command == "info":
        print(json.dumps({"version": "0.1.0", "api_version": "2.0.0" if mode() == "future" else "1.0.0"}))
    elif command == "create":
        print(json.dumps(create(given)))
    elif command == "setup":
        print(json.dumps(setup(rest[0], given)))
    elif command == "teardown":
        teardown(given)


main()

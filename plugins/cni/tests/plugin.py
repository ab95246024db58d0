#!/usr/bin/env python3
"""A CNI plugin that behaves as its configuration says: real for the verbs, and wrong in the ways that are asked for.

`faults` maps a verb to one of: garbage, nothing, error, crash, hang, odd. Every call is appended to the file `journal`.
`device: true` really makes an interface in the sandbox, with `ip` (a bridge: every kernel has those), which DEL takes
away unless `leak` is set.
"""

import json
import os
import subprocess
import sys
import time

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def main():
    verb, conf = os.environ["CNI_COMMAND"], json.load(sys.stdin)
    names = ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS")
    if conf.get("journal"):
        with open(conf["journal"], "a") as journal:
            entry = {"verb": verb, "conf": conf, "env": {name: os.environ.get(name) for name in names}}
            journal.write(json.dumps(entry) + "\n")
    misbehave(conf.get("faults", {}).get(verb), verb)
    if verb == "VERSION":
        print(json.dumps({"cniVersion": "1.1.0", "supportedVersions": conf.get("speaks", VERSIONS)}))
    elif verb == "ADD":
        print(json.dumps(add(conf)))
    elif verb == "DEL" and conf.get("device") and not conf.get("leak"):
        inside("ip", "link", "del", os.environ["CNI_IFNAME"], check=False)


def misbehave(fault, verb):
    if fault == "garbage":
        print("Segmentation fault (not really)")
        sys.exit(0)
    if fault == "nothing":
        sys.exit(0)
    if fault == "odd":
        print(json.dumps({"hello": "world"}))
        sys.exit(0)
    if fault == "error":
        print(json.dumps({"cniVersion": "1.0.0", "code": 11, "msg": "try again", "details": f"in {verb}"}))
        sys.exit(1)
    if fault == "crash":
        sys.stderr.write("panic: runtime error\n")
        os.kill(os.getpid(), 9)
    if fault == "hang":
        time.sleep(600)


def add(conf):
    if "prevResult" in conf:
        return conf["prevResult"]
    ifname, netns = os.environ["CNI_IFNAME"], os.environ["CNI_NETNS"]
    number = int(os.environ["CNI_CONTAINERID"][-2:], 16) % 200 + 2
    address = f"10.99.0.{number}/24"
    mac = f"02:42:0a:63:00:{number:02x}"
    if conf.get("device"):
        inside("ip", "link", "add", ifname, "address", mac, "type", "bridge")
        inside("ip", "addr", "add", address, "dev", ifname)
        inside("ip", "link", "set", ifname, "up")
        inside("ip", "route", "replace", "default", "via", "10.99.0.1", "dev", ifname)
    ip = {"address": address, "gateway": "10.99.0.1", "interface": 0}
    if conf["cniVersion"] < "1.0.0":
        ip["version"] = "4"
    interface = {"name": ifname, "mac": mac, "sandbox": netns}
    routes = [{"dst": "0.0.0.0/0"}]
    dns = {"nameservers": ["10.99.0.53"], "search": ["example.test"]}
    return {"cniVersion": conf["cniVersion"], "interfaces": [interface], "ips": [ip], "routes": routes, "dns": dns}


def inside(*command, check=True):
    subprocess.run(["nsenter", f"--net={os.environ['CNI_NETNS']}", *command], check=check, stderr=subprocess.DEVNULL)


main()

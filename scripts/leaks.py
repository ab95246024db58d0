"""What of ours, or of our making, is on the machine: links, namespaces, rules, mounts, processes, sockets, cgroups.

Without arguments prints it as one line of JSON; with `--compare` reads such a line, waits a moment for what is going
away by itself (the kernel takes tens of milliseconds to delete a namespace's links), then fails and names whatever is
new.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 10.0  # seconds

# The directories of the file system that the control groups are mounted in, those below a mount too: a runtime makes
# plain ones there, unseen, while some mount namespace has nothing mounted on them.
PLAIN = "mount --bind /sys/fs/cgroup /mnt && find /mnt -mindepth 1 -maxdepth 2 -fstype tmpfs -type d -printf '%P\\n'"


def output(*command: str) -> list[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        return []


def processes() -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if "leaks.py" in words or "scripts/test" in words:
            continue  # this program
        if "netpy" in words or "conmon" in words:
            found.append(f"{entry.parent.name} {words[:120]}")
    return found


def cgroups(mount: str) -> list[str]:
    """Ours below a mount. What goes away while it is looked for is none."""
    return [f"{at}/{name}" for at, names, _ in os.walk(mount) for name in names if name.startswith("netpy-")]


def snapshot() -> dict[str, list[str]]:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    sockets = Path("/proc/net/unix").read_text().splitlines()
    return {
        "links": [line.split(":")[1].strip() for line in output("ip", "-o", "link")],
        "namespaces": [
            str(path) for depth in ("", "*/", "*/*/") for path in Path("/run").glob(f"netpy*/{depth}netns/*")
        ],
        "nft rules": [line.strip() for line in output("nft", "list", "tables")],
        "iptables rules": output("iptables-legacy-save"),
        "mounts": [line.split()[4] for line in mounts],
        "processes": [line for line in processes() if "pytest" not in line],
        "sockets": [line.split()[-1] for line in sockets if "netpy" in line],
        "cgroups": [path for line in mounts if " - cgroup" in line for path in cgroups(line.split()[4])],
        "plain directories in /sys/fs/cgroup": output(
            "unshare", "--mount", "--propagation", "private", "sh", "-c", PLAIN
        ),
    }


def new_things(before: dict[str, list[str]]) -> list[str]:
    now = snapshot()
    return [f"{kind}: {thing}" for kind, things in now.items() for thing in things if thing not in before[kind]]


def lasting(before: dict[str, list[str]]) -> list[str]:
    """What is new and does not go away by itself."""
    deadline = time.monotonic() + PATIENCE
    while (left := new_things(before)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def main() -> int:
    if "--compare" not in sys.argv:
        print(json.dumps(snapshot()))
        return 0
    left = lasting(json.load(sys.stdin))
    for line in left:
        print(f"left behind: {line}", file=sys.stderr)
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())

"""Building images: `build`, and `builder prune`. The context is sent, the daemon's progress printed as it comes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine.cli import credentials, progress, pruning, terminal, units
from engine.cli.command import Call, CommandError, command
from engine.cli.context import context
from engine.cli.documents import section
from engine.cli.filters import filters
from engine.cli.flags import BadValue, Options, flag, listed, many, number, text
from engine.cli.resources import ulimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@command(
    "build",
    "PATH | URL | -",
    many("--add-host", help="Add a host-to-IP mapping (host:ip)"),
    many("--build-arg", help="Set a build argument (NAME=value, or NAME from the environment)"),
    listed("--cache-from", help="Images whose steps may be taken over"),
    text("--cgroup-parent", help="Parent of the control groups of RUN"),
    number("--cpu-period", help="Length of a CPU period in microseconds"),
    number("--cpu-quota", help="CPU time in each period, in microseconds"),
    number("-c", "--cpu-shares", help="Relative weight of CPU time"),
    text("--cpuset-cpus", help="CPUs to run on (0-3, 0,1)"),
    text("--cpuset-mems", help="Memory nodes to use"),
    text("-f", "--file", help="The Dockerfile (default PATH/Dockerfile; - for standard input)"),
    flag("--force-rm", help="Always remove intermediate containers"),
    text("--iidfile", help="Write the image's ID to this file"),
    many("--label", help="Set a label of the image"),
    text("-m", "--memory", help="Memory limit of RUN", kind="bytes"),
    text("--memory-swap", help="Memory and swap together; -1 for no limit", kind="bytes"),
    text("--network", help="Network of RUN (default, host, none, or a network's name)"),
    flag("--no-cache", help="Do not use what was built before"),
    text("--platform", help="Platform of the base images (os/arch)"),
    text("--progress", help="Accepted; progress is always plain", default="auto"),
    flag("--pull", help="Always look for a newer version of the base images"),
    flag("-q", "--quiet", help="Print the image's ID only"),
    flag("--rm", help="Remove intermediate containers after a successful build", default=True),
    text("--shm-size", help="Size of /dev/shm in RUN", kind="bytes"),
    flag("--squash", help="Make what the build added one layer"),
    many("-t", "--tag", help="Name of the image (name:tag)"),
    text("--target", help="Stage to build, the last one if not given"),
    many("--ulimit", help="Ulimit in RUN, name=soft[:hard]", kind="ulimit"),
    least=1,
    most=1,
)
def build(call: Call) -> int | None:
    """Build an image from a Dockerfile"""
    options = call.options
    sent = context(call.arguments[0], options.text("file"))
    query = _query(options) | {"dockerfile": sent.dockerfile or None, "remote": sent.remote or None}
    quiet = options.flag("quiet")
    body = None if sent.pieces is None else _counted(sent.pieces, quiet=quiet)
    headers = credentials.config_header()
    with call.client.request("POST", "/build", query, body, headers) as answer:
        image = _shown(answer.objects(), quiet=quiet)
    if options.text("iidfile"):
        Path(options.text("iidfile")).write_text(image)
    return 0


@command(
    "prune",
    "",
    flag("-a", "--all", help="Accepted: there is nothing else to keep"),
    many("--filter", help="Only what matches", kind="filter"),
    pruning.FORCE,
    text("--keep-storage", help="Accepted for compatibility", kind="bytes"),
)
def prune(call: Call) -> int | None:
    """Remove what builds keep for later ones"""
    wanted = filters(call.options.many("filter"))
    return pruning.prune(call, "This will remove all dangling build cache.", [pruning.build_cache(wanted)])


def _query(options: Options) -> dict[str, object]:
    return {
        "version": "1",
        "t": options.many("tag") or None,
        "buildargs": _arguments(options.many("build_arg")) or None,
        "labels": dict(_pair(text) for text in options.many("label")) or None,
        "cachefrom": _json_list(options.many("cache_from")),
        "cgroupparent": options.text("cgroup_parent") or None,
        "cpuperiod": options.number("cpu_period") or None,
        "cpuquota": options.number("cpu_quota") or None,
        "cpushares": options.number("cpu_shares") or None,
        "cpusetcpus": options.text("cpuset_cpus") or None,
        "cpusetmems": options.text("cpuset_mems") or None,
        "extrahosts": options.many("add_host") or None,
        "forcerm": options.flag("force_rm") or None,
        "memory": _bytes(options, "memory") or None,
        "memswap": _bytes(options, "memory_swap") or None,
        "networkmode": options.text("network") or None,
        "nocache": options.flag("no_cache") or None,
        "platform": options.text("platform") or None,
        "pull": options.flag("pull") or None,
        "q": options.flag("quiet") or None,
        "rm": options.flag("rm"),
        "shmsize": _bytes(options, "shm_size") or None,
        "squash": options.flag("squash") or None,
        "target": options.text("target") or None,
        "ulimits": _json_list(ulimits(options.many("ulimit"))),
    }


def _arguments(words: list[str]) -> dict[str, str | None]:
    """Build arguments; one without a value has that of the environment, if there is one."""
    found: dict[str, str | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        found[name] = value if equals else os.environ.get(name)
    return found


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _json_list(items: list[Any]) -> str | None:
    import json

    return json.dumps(items) if items else None


def _bytes(options: Options, name: str) -> int:
    value = options.text(name)
    if not value or value == "-1":
        return -1 if value else 0
    try:
        return units.parse_bytes(value)
    except ValueError as error:
        raise BadValue(name.replace("_", "-"), value, str(error)) from error


def _counted(pieces: Iterator[bytes], *, quiet: bool) -> Iterator[bytes]:
    """The context as it goes out, and in the end a line that says how large it was."""
    total = 0
    for piece in pieces:
        total += len(piece)
        yield piece
    if not quiet:
        print(f"Sending build context to Docker daemon  {units.size(total, 4)}", flush=True)


def _shown(messages: Iterator[dict[str, Any]], *, quiet: bool) -> str:
    """Print the progress; the id of the image. A failure has the exit code of the program that failed."""
    image = ""

    def watched() -> Iterator[dict[str, Any]]:
        nonlocal image
        for message in messages:
            image = str(section(message, "aux").get("ID") or image)
            if message.get("error"):
                code = int(section(message, "errorDetail").get("code") or 1)
                raise CommandError(str(message["error"]), code)
            if quiet and not image:
                image = str(message.get("stream") or "").strip()
            yield message

    progress.show(watched(), sys.stdout, terminal=terminal.is_terminal(1))
    return image

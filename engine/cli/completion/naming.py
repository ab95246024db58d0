"""Turns what is wanted into words: the names of containers, networks, images and volumes are asked of the daemon.

`netpy __complete` ends here. It does I/O on one socket, never starts a daemon, and where none answers in time the
names are left out without a word: a Tab must not hang and must not write over the command line.
"""

from __future__ import annotations

import os

from engine.cli.command import PASSED_ON, Call, command
from engine.cli.completion.wanted import Wanted, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from engine.client import Client

_STATES = {
    "running": ("running",),
    "paused": ("paused",),
    "stopped": ("created", "exited", "dead"),
}


@command("__complete", PASSED_ON, least=0, most=None)
def complete(call: Call) -> int | None:
    """What may follow the given words"""
    from engine.cli.registry import ROOT

    words = list(call.arguments)
    host = _host(words)
    print("\n".join(answer(wanted(ROOT, words), words[-1] if words else "", host)))


def answer(found: Wanted, current: str, host: str = "") -> list[str]:
    """The lines for the shell: directives, then the candidates that begin like the word that is typed."""
    typed = current[len(found.prefix) :] if current.startswith(found.prefix) else current
    candidates = [*found.words, *_named(found.sources, host)]
    fitting = dict.fromkeys((word, note) for word, note in candidates if word.startswith(typed))
    directives = [name for name in ("files",) if "files" in found.sources and not _is_beyond_path(typed, fitting)]
    if fitting and all(word[-1:] in "=:," for word, _ in fitting):
        directives.append("nospace")
    return [" ".join(directives) or "-", *(f"{found.prefix}{word}\t{note}".rstrip("\t") for word, note in fitting)]


def _is_beyond_path(typed: str, fitting: dict[tuple[str, str], None]) -> bool:
    """Whether what is typed names something of ours already: no file is meant then."""
    return bool(typed) and bool(fitting) and ":" in typed


def _host(words: Sequence[str]) -> str:
    """The daemon that the command line itself names."""
    for position, word in enumerate(words[:-1]):
        if word in ("-H", "--host"):
            return words[position + 1]
        if word.startswith("--host="):
            return word.partition("=")[2]
        if word[:1] != "-":
            break
    return ""


def _named(sources: Sequence[str], host: str) -> Iterator[tuple[str, str]]:
    asked = [source for source in sources if source != "files"]
    if not asked:
        return
    if asked == ["variable"]:
        yield from ((name, "") for name in sorted(os.environ))
        return
    from engine.client import Client, ClientError

    client = Client(host)
    try:
        for source in asked:
            yield from _asked(client, source)
    except (ClientError, OSError, ValueError):
        return
    finally:
        client.close()


def _asked(client: Client, source: str) -> Iterator[tuple[str, str]]:
    match source:
        case "image":
            yield from _images(client.request("GET", "/images/json").json())
        case "network":
            for each in client.request("GET", "/networks").json():
                yield each["Name"], f"{each['Driver']} network"
        case "volume" | "volume:":
            for each in client.request("GET", "/volumes").json().get("Volumes") or ():
                yield each["Name"] + source[len("volume") :], f"{each['Driver']} volume"
        case "driver":
            for name in client.request("GET", "/info").json()["Plugins"]["Network"]:
                yield name, ""
        case _:
            yield from _containers(client, source)


def _containers(client: Client, source: str) -> Iterator[tuple[str, str]]:
    """`container` and its states; `container:` for a path or alias to follow; `container=` for another's namespace."""
    states = _STATES.get(source)
    query = {"all": True, "filters": {"status": dict.fromkeys(states, True)} if states else None}
    before, after = ("container:", "") if source == "container=" else ("", source[len("container") :])
    for each in client.request("GET", "/containers/json", query).json():
        note = f"{each['Image']}, {each['Status'].lower()}"
        for name in each["Names"]:
            if name.count("/") == 1:
                yield f"{before}{name[1:]}{after if source == 'container:' else ''}", note


def _images(found: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for each in found:
        for tag in each.get("RepoTags") or ():
            if not tag.startswith("<none>"):
                note = each["Id"].removeprefix("sha256:")[:12]
                yield tag, note
                if tag.endswith(":latest"):
                    yield tag.removesuffix(":latest"), note

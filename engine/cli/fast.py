"""The fast path: lists and `inspect`, as they are mostly typed, without the command tree and its flags.

Anything unusual (another flag, no daemon, an error) returns None, and the ordinary path does it again with all its
care. Does I/O on one socket.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LISTS: dict[tuple[str, ...], str] = {
    ("ps",): "container",
    ("container", "ls"): "container",
    ("images",): "image",
    ("image", "ls"): "image",
    ("network", "ls"): "network",
}
_DETAILS: dict[tuple[str, ...], str] = {
    ("inspect",): "/containers/{}/json",
    ("container", "inspect"): "/containers/{}/json",
    ("image", "inspect"): "/images/{}/json",
    ("network", "inspect"): "/networks/{}",
}
_TARGETS = {"container": ("/containers/json", "aq"), "image": ("/images/json", "aq"), "network": ("/networks", "q")}
_LONG = {"--all": "a", "--quiet": "q"}


def attempt(arguments: list[str]) -> str | None:
    """What the command line prints, if it is one of ours and all goes well."""
    host, words = "", arguments
    if words[:1] in (["-H"], ["--host"]):
        host, words = "".join(words[1:2]), words[2:]
    for length in (1, 2):
        verb = tuple(words[:length])
        if verb in _LISTS:
            return _list(host, _LISTS[verb], words[length:])
        if verb in _DETAILS:
            return _inspected(host, _DETAILS[verb], words[length:])
    return None


def _list(host: str, kind: str, flags: list[str]) -> str | None:
    target, known = _TARGETS[kind]
    letters = "".join(_LONG.get(flag) or (flag[1:] if flag[:1] == "-" and flag[1:] else "?") for flag in flags)
    if letters.strip(known):
        return None
    body = _get(host, target, {"all": "a" in letters or None})
    if body is None:
        return None
    from engine.client.codec import loads

    return _table(kind, loads(body), quiet="q" in letters)


def _table(kind: str, found: list[dict[str, Any]], *, quiet: bool) -> str:
    import time

    from engine.cli import rows

    now = time.time()
    match kind:
        case "network":
            shown, columns = rows.network_rows(found), rows.NETWORK_COLUMNS
        case "image":
            shown, columns = rows.image_rows(found, now), rows.IMAGE_COLUMNS
        case _:
            shown, columns = [rows.container_row(each, now) for each in found], rows.CONTAINER_COLUMNS
    return "".join(f"{row['ID']}\n" for row in shown) if quiet else rows.rendered(shown, columns, kind)


def _inspected(host: str, path: str, names: list[str]) -> str | None:
    if len(names) != 1 or not _is_plain(names[0]):
        return None
    body = _get(host, path.format(names[0]), {})
    if body is None:
        return None
    from engine.cli.indent import indented_list

    return indented_list([body.decode()]) + "\n"


def _is_plain(name: str) -> bool:
    """Whether it is a name, no flag, and needs no quoting."""
    letters = name.replace("_", "a").replace("-", "a").replace(".", "a")
    return letters.isascii() and letters.isalnum() and name[0] != "-"


def _get(host: str, path: str, query: dict[str, object]) -> bytes | None:
    """The body of a GET; None if there is no answer, or if it is an error."""
    from engine.client import Client, ClientError

    try:
        client = Client(host)
        try:
            return client.request("GET", path, query).read()
        finally:
            client.close()
    except ClientError:
        return None

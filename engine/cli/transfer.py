"""Images from and to registries: pull, push, search."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from engine.cli import credentials, progress, terminal
from engine.cli.command import Call, CommandError, command
from engine.cli.filters import filters
from engine.cli.flags import flag, many, number, text
from engine.cli.formatting import Item, Listing, listed
from engine.cli.references import Reference, reference
from engine.client import Client

_PLATFORM = "Platform, if the image has several (os/arch)"
_ALL_WITH_TAG = "tag can't be used with --all-tags/-a"


def _named(name: str) -> Reference:
    try:
        return reference(name)
    except ValueError as error:
        raise CommandError(str(error)) from error


def pulled(
    client: Client, wanted: Reference, platform: str = "", *, all_tags: bool = False
) -> Iterator[dict[str, Any]]:
    """Pull an image, or all tags of its repository: the daemon's messages as they come. Raises ApiError."""
    tag = None if all_tags else wanted.version
    query = {"fromImage": wanted.repository, "tag": tag, "platform": platform or None}
    with client.request("POST", "/images/create", query, None, credentials.header(wanted.domain)) as answer:
        yield from answer.objects()


def _shown(messages: Iterator[dict[str, Any]], *, quiet: bool = False) -> None:
    try:
        if quiet:
            for message in messages:
                progress.check(message)
        else:
            progress.show(messages, sys.stdout, terminal=terminal.is_terminal(1))
    except progress.StreamError as error:
        raise CommandError(str(error)) from error


@command(
    "pull",
    "NAME[:TAG|@DIGEST]",
    flag("-a", "--all-tags", help="Download all tagged images in the repository"),
    flag("--disable-content-trust", help="Accepted and ignored: images are not signed here", default=True),
    text("--platform", help=_PLATFORM),
    flag("-q", "--quiet", help="Print the image's name only"),
    least=1,
    most=1,
)
def pull(call: Call) -> int | None:
    """Download an image from a registry"""
    wanted, quiet, everything = _named(call.arguments[0]), call.options.flag("quiet"), call.options.flag("all_tags")
    if everything and (wanted.tag or wanted.digest):
        raise CommandError(_ALL_WITH_TAG)
    if not (wanted.tag or wanted.digest or quiet or everything):
        print("Using default tag: latest", flush=True)
    messages = pulled(call.client, wanted, call.options.text("platform"), all_tags=everything)
    _shown(messages, quiet=quiet)
    print(wanted.repository if everything else wanted.named(full=True))


@command(
    "push",
    "NAME[:TAG]",
    flag("-a", "--all-tags", help="Push all tags of an image to the repository"),
    flag("--disable-content-trust", help="Accepted and ignored: images are not signed here", default=True),
    flag("-q", "--quiet", help="Print the image's name only"),
    least=1,
    most=1,
)
def push(call: Call) -> int | None:
    """Upload an image to a registry"""
    wanted, quiet, everything = _named(call.arguments[0]), call.options.flag("quiet"), call.options.flag("all_tags")
    if wanted.digest:
        raise CommandError("cannot push a digest reference")
    if everything and wanted.tag:
        raise CommandError(_ALL_WITH_TAG)
    if not (wanted.tag or quiet or everything):
        print("Using default tag: latest", flush=True)
    query = {"tag": None if everything else wanted.version}
    headers = credentials.header(wanted.domain) or {"X-Registry-Auth": credentials.encoded({})}
    with call.client.request("POST", f"/images/{wanted.repository}/push", query, None, headers) as answer:
        _shown(answer.objects(), quiet=quiet)
    if quiet:
        print(wanted.familiar if everything else wanted.named())


@command(
    "search",
    "TERM",
    many("-f", "--filter", help="Only those that match, such as is-official=true or stars=3", kind="filter"),
    text("--format", help='Print with a Go template, "table TEMPLATE" for columns, or "json"'),
    number("--limit", help="Max number of search results"),
    flag("--no-trunc", help="Don't cut anything short"),
    least=1,
    most=1,
)
def search(call: Call) -> int | None:
    """Search Docker Hub for images"""
    options, term = call.options, call.arguments[0]
    host, slash, _ = term.partition("/")
    named = slash and ("." in host or ":" in host or host == "localhost")
    wanted = filters(options.many("filter"))
    query = {"term": term, "limit": options.number("limit") or None, "filters": wanted or None}
    headers = credentials.header(host if named else credentials.HUB_DOMAIN)
    found: list[dict[str, Any]] = call.client.request("GET", "/images/search", query, None, headers).json() or []
    trunc = not options.flag("no_trunc")
    items = [Item(_row(result, trunc=trunc), {}) for result in found]
    columns = ("Name", "Description", "StarCount", "IsOfficial")
    kind = Listing(kind="search", columns=columns, type_name="*formatter.searchContext")
    sys.stdout.write(listed(kind, items, options.text("format"), quiet=False))


def _row(result: dict[str, Any], *, trunc: bool) -> dict[str, str]:
    description = str(result.get("description") or "").replace("\n", " ").replace("\r", " ")
    return {
        "Name": str(result.get("name") or ""),
        "Description": description[:44] + "…" if trunc and len(description) > 45 else description,
        "StarCount": str(result.get("star_count") or 0),
        "IsOfficial": "[OK]" if result.get("is_official") else "",
        "IsAutomated": "[OK]" if result.get("is_automated") else "",
    }

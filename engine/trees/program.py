"""The process that works on a tree: `python -I -S program.py ORDER`, where ORDER is JSON.

It goes to its place first, from which the rest of the machine cannot be seen, and only then reads a name that
a stranger chose. For that reason everything it needs is imported at the top: after chroot there is no library to
import from. Tars come on standard input and go to standard output; at the end standard error carries one JSON object,
`{}` or `{"error": text, "errno": number or 0}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120

from engine.trees import packing

Order = dict[str, Any]


def _send(chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(1, view) :]


def _layer(_order: Order) -> None:
    _send(packing.layer("/"))


VERBS: dict[str, Callable[[Order], None]] = {"layer": _layer}


def main(order: Order) -> Order:
    """Carry out an order; the report."""
    try:
        os.umask(0)
        os.chroot(order["root"])
        os.chdir("/")
        VERBS[order["verb"]](order)
    except Exception as failure:
        return {"error": str(failure) or type(failure).__name__, "errno": getattr(failure, "errno", None) or 0}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), file=sys.stderr, flush=True)
    os._exit(0)

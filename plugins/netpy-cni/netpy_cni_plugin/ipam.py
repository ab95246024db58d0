"""Addresses from another CNI plugin, named in `ipam.type`: it is run with the environment and the configuration we got.

Errors are its own, with its name before them. I/O: a process.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, cast

from netpy_cni_plugin.protocol import INVALID, IO, CniError

Json = dict[str, Any]
SECONDS = 60


def ask(kind: str, verb: str, conf: Json) -> Json:
    """What the plugin answers; an empty document where it says nothing. CniError as the plugin has it."""
    path = _path(kind)
    environment = {**os.environ, "CNI_COMMAND": verb}
    try:
        done = subprocess.run(
            [path],
            input=json.dumps(conf).encode(),
            stdout=subprocess.PIPE,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CniError(IO, f"ipam plugin {kind}: {verb}: no answer within {SECONDS} s") from None
    except OSError as error:
        raise CniError(IO, f"ipam plugin {kind}: cannot be run", str(error)) from error
    return _answer(f"ipam plugin {kind}: {verb}", done.stdout, done.returncode)


def _path(kind: str) -> str:
    for directory in os.environ.get("CNI_PATH", "").split(":"):
        path = Path(directory) / kind
        if directory and path.is_file():
            return str(path)
    raise CniError(INVALID, f"ipam plugin {kind} not found", f"CNI_PATH is {os.environ.get('CNI_PATH', '')!r}")


def _answer(what: str, said: bytes, code: int) -> Json:
    text = said.decode(errors="replace").strip()
    try:
        body: object = json.loads(text) if text else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise CniError(IO, f"{what}: printed what is no JSON object", text[:200])
    answer = cast(Json, body)
    if code != 0:
        message = f"{what}: {answer.get('msg', f'exit code {code}')}"
        raise CniError(int(answer.get("code") or IO), message, str(answer.get("details", "")))
    return answer

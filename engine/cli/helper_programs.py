"""The programs that keep passwords for Docker's clients: `docker-credential-NAME get|store|erase`, JSON over pipes.

The protocol is that of docker-credential-helpers. Runs the program; decides nothing.
"""

from __future__ import annotations

import json
import subprocess

from engine.cli.credentials import Credential, CredentialError

_TOKEN = "<token>"
_NOT_FOUND = ("credentials not found in native keychain", "credentials missing server URL")


def get(name: str, server: str) -> Credential | None:
    """What the program has for a server; None when it has nothing. Raises CredentialError."""
    code, output = _run(name, "get", server)
    if code:
        if output.strip() in _NOT_FOUND:
            return None
        raise CredentialError(f"error getting credentials - err: exit status {code}, out: `{output.strip()}`")
    try:
        found = json.loads(output)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CredentialError(f"error getting credentials: docker-credential-{name} gave no JSON of them") from None
    if username == _TOKEN:
        return Credential(server, token=secret)
    return Credential(server, username, secret)


def put(name: str, found: Credential) -> None:
    """Have the program keep a password or identity token. Raises CredentialError."""
    pair = (_TOKEN, found.token) if found.token else (found.username, found.password)
    body = {"ServerURL": found.server, "Username": pair[0], "Secret": pair[1]}
    code, output = _run(name, "store", json.dumps(body))
    if code:
        raise CredentialError(f"error storing credentials - err: exit status {code}, out: `{output.strip()}`")


def erase(name: str, server: str) -> None:
    """Have the program forget a server. Raises CredentialError."""
    code, output = _run(name, "erase", server)
    if code and output.strip() not in _NOT_FOUND:
        raise CredentialError(f"error erasing credentials - err: exit status {code}, out: `{output.strip()}`")


def _run(name: str, verb: str, text: str) -> tuple[int, str]:
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run([program, verb], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CredentialError(
            f'error getting credentials - err: exec: "{program}": executable file not found in $PATH, out: ``'
        ) from None
    return done.returncode, done.stdout

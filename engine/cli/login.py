"""`login` and `logout`: a password is asked for, checked by daemon and registry, and kept where Docker keeps it."""

from __future__ import annotations

import sys

from engine.cli import credentials, terminal
from engine.cli.command import Call, CommandError, command
from engine.cli.credentials import HUB, Credential, CredentialError
from engine.cli.flags import flag, text
from engine.cli.prompt import prompted
from engine.client import ApiError

_STORED = """
WARNING! Your credentials are stored unencrypted in '{}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/
"""
_HUB = "Log in with your Docker ID to push and pull images from Docker Hub."


@command(
    "login",
    "[OPTIONS] [SERVER]",
    text("-p", "--password", help="Password"),
    flag("--password-stdin", help="Take the password from stdin"),
    text("-u", "--username", help="Username"),
    most=1,
)
def login(call: Call) -> int | None:
    """Authenticate to a registry"""
    server = _server(call.arguments)
    try:
        username, password = _given(call)
        known = None if username or password else credentials.lookup(server)
        if known and _renewed(call, known):
            return 0
        if not (username and password):
            username, password = _asked(server, username, known.username if known else "")
        _keep(call, Credential(server, username, password))
    except CredentialError as error:
        raise CommandError(str(error)) from error


@command("logout", "[SERVER]", most=1)
def logout(call: Call) -> int | None:
    """Log out from a registry"""
    server = _server(call.arguments)
    print(f"Removing login credentials for {server}")
    try:
        credentials.erase(server)
    except CredentialError as error:
        raise CommandError(f"WARNING: could not erase credentials:\n{server}: {error}") from error


def _server(arguments: tuple[str, ...]) -> str:
    given = arguments[0] if arguments else ""
    host = given.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return credentials.key(given if given == HUB else host)


def _given(call: Call) -> tuple[str, str]:
    """User name and password from flags and standard input, either of which may be missing."""
    options = call.options
    username, password = options.text("username").strip(), options.text("password")
    if password and options.flag("password_stdin"):
        raise CommandError("conflicting options: cannot specify both --password and --password-stdin")
    if password:
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
    if options.flag("password_stdin"):
        if not username:
            raise CommandError("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().rstrip("\r\n")
    return username, password


def _renewed(call: Call, known: Credential) -> bool:
    """Whether the registry still takes what is kept."""
    shown = f" [Username: {known.username}]" if known.username else ""
    print(f"Authenticating with existing credentials...{shown}")
    print("\n Info -> To login with a different account, run 'netpy logout' followed by 'netpy login'\n\n", flush=True)
    try:
        _keep(call, known)
    except ApiError as error:
        if error.status == 401:
            print("Stored credentials invalid or expired", file=sys.stderr)
        else:
            print(f"Login did not succeed, error: {error}", file=sys.stderr)
        return False
    return True


def _asked(server: str, username: str, usual: str) -> tuple[str, str]:
    if not terminal.is_terminal(0):
        raise CommandError("Error: Cannot perform an interactive login from a non TTY device")
    if not username:
        if server == HUB:
            print(_HUB)
        username = prompted(f"Username ({usual})" if usual else "Username").strip() or usual
        if not username:
            raise CommandError("Error: Non-null Username Required")
    password = prompted("Password", hidden=True)
    if not password:
        raise CommandError("Error: Password Required")
    return username, password


def _keep(call: Call, found: Credential) -> None:
    """Have the registry check it, then keep it: the password, or the identity token that came in its place."""
    answer: dict[str, str] = call.client.request("POST", "/auth", None, found.document).json() or {}
    token = answer.get("IdentityToken") or ""
    kept = Credential(found.server, found.username, "", token) if token else found
    unencrypted = credentials.store(kept)
    if unencrypted:
        print(_STORED.format(unencrypted), file=sys.stderr)
    print(answer.get("Status") or "Login Succeeded")

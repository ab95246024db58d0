"""login, logout, and the passwords in config.json: Docker's file, Docker's words, and the programs that keep them."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import credentials
from engine.cli.credentials import HUB, Credential, CredentialError
from engine.cli.main import run

from .cli_daemon import Answer, Daemon, answering

Outputs = pytest.CaptureFixture[str]
GOOD = {"IdentityToken": "", "Status": "Login Succeeded"}
HELPER = """#!/usr/bin/env python3
import json, os, sys
path = os.environ["HELPER_STORE"]
kept = json.load(open(path)) if os.path.exists(path) else {}
verb, text = sys.argv[1], sys.stdin.read()
if verb == "get":
    if text not in kept:
        print("credentials not found in native keychain")
        sys.exit(1)
    print(json.dumps(kept[text]))
elif verb == "store":
    kept[json.loads(text)["ServerURL"]] = json.loads(text)
elif verb == "erase":
    kept.pop(text, None)
json.dump(kept, open(path, "w"))
"""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with answering(tmp_path / "s", monkeypatch) as found:
        found.routes["POST /auth"] = Answer(body=GOOD)
        yield found


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir(exist_ok=True)
    return tmp_path / "docker/config.json"


@pytest.fixture
def helper(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker-credential-test on the path; where it keeps things."""
    program = tmp_path / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPER_STORE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def auth(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def sent(daemon: Daemon) -> list[Any]:
    return [request.body for request in daemon.requests if request.path == "/auth"]


def test_a_password_is_checked_and_kept(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    config.write_text(json.dumps({"detachKeys": "ctrl-a", "auths": {"z": {"auth": auth("a", "b")}}}))
    assert run(["login", "-u", "alice", "-p", "secret", "r:5000"]) == 0
    assert sent(daemon) == [{"username": "alice", "password": "secret", "serveraddress": "r:5000"}]
    out, err = capsys.readouterr()
    assert out == "Login Succeeded\n"
    assert err.startswith(
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n\nWARNING! Your cred"
    )
    assert f"stored unencrypted in '{config}'" in err
    text = config.read_text()
    kept = {"r:5000": {"auth": auth("alice", "secret")}, "z": {"auth": auth("a", "b")}}
    assert json.loads(text) == {"detachKeys": "ctrl-a", "auths": kept}
    assert text.startswith('{\n\t"detachKeys": "ctrl-a",\n\t"auths": {\n\t\t"r:5000"')
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_by_standard_input(daemon: Daemon, config: Path, capsys: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
        assert run(["login", "-u", "alice", "--password-stdin", "https://r:5000/v1/"]) == 0
    assert sent(daemon)[0]["password"] == "secret"
    assert capsys.readouterr().err.count("stored unencrypted") == 1  # the second time nothing is new
    assert list(json.loads(config.read_text())["auths"]) == ["r:5000"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--password-stdin"], "the --password-stdin option requires --username to be set"),
        (["-u", "a", "-p", "b", "--password-stdin"], "cannot specify both --password and --password-stdin"),
        (["-u", "a"], "Error: Cannot perform an interactive login from a non TTY device"),
        ([], "Error: Cannot perform an interactive login from a non TTY device"),
    ],
)
def test_mistakes(daemon: Daemon, capsys: Outputs, words: list[str], text: str) -> None:
    assert run(["login", *words, "r"]) == 1
    assert text in capsys.readouterr().err
    assert sent(daemon) == []


def test_a_refused_password_is_not_kept(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    daemon.routes["POST /auth"] = Answer(status=401, body={"message": "login attempt to https://r/v2/ failed"})
    assert run(["login", "-u", "alice", "-p", "x", "r"]) == 1
    assert "Error response from daemon: login attempt to https://r/v2/ failed" in capsys.readouterr().err
    assert not config.exists()


def test_an_identity_token_is_kept_in_the_passwords_place(daemon: Daemon, config: Path) -> None:
    daemon.routes["POST /auth"] = Answer(body={"IdentityToken": "tok", "Status": "Login Succeeded"})
    assert run(["login", "-u", "alice", "-p", "secret", "r"]) == 0
    assert json.loads(config.read_text())["auths"] == {"r": {"auth": auth("alice", ""), "identitytoken": "tok"}}
    assert credentials.lookup("r") == Credential("r", "alice", token="tok")


def test_known_passwords_are_tried_first(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    config.write_text(json.dumps({"auths": {"r": {"auth": auth("alice", "secret")}}}))
    assert run(["login", "r"]) == 0
    assert "Authenticating with existing credentials... [Username: alice]\n" in capsys.readouterr().out
    daemon.routes["POST /auth"] = Answer(status=401, body={"message": "no"})
    assert run(["login", "r"]) == 1
    err = capsys.readouterr().err
    assert "Stored credentials invalid or expired" in err
    assert "non TTY device" in err


def test_logout(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    config.write_text(json.dumps({"auths": {"r": {"auth": auth("a", "b")}, HUB: {"auth": auth("c", "d")}}}))
    assert run(["logout", "r"]) == 0
    assert json.loads(config.read_text()) == {"auths": {HUB: {"auth": auth("c", "d")}}}
    assert run(["logout"]) == 0
    assert json.loads(config.read_text()) == {"auths": {}}
    assert run(["logout", "r"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Removing login credentials for r",
        f"Removing login credentials for {HUB}",
        "Removing login credentials for r",
    ]


def test_keys_are_found_as_older_clients_wrote_them(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"https://r:5000/v1/": {"auth": auth("a", "b:c")}, "docker.io": {}}}))
    assert credentials.lookup("r:5000") == Credential("r:5000", "a", "b:c")
    assert credentials.lookup("r") is None
    assert credentials.lookup(HUB) is None
    assert credentials.header("r:5000") == {
        "X-Registry-Auth": credentials.encoded({"username": "a", "password": "b:c", "serveraddress": "r:5000"})
    }
    assert credentials.header("other") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"r": {"auth": "%"}}}'])
def test_a_broken_file_is_named(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(CredentialError) as caught:
        credentials.lookup("r")
    assert str(config) in str(caught.value)


def test_a_broken_file_stops_no_pull(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    config.write_text("{")
    daemon.routes["POST /images/create"] = Answer(body={"status": "Pulling from x", "id": "1"})
    assert run(["pull", "r:1/x:1"]) == 0
    assert f"WARNING: Error loading config file: {config}" in capsys.readouterr().err


def test_a_helper_program_keeps_them(daemon: Daemon, config: Path, helper: Path, capsys: Outputs) -> None:
    config.write_text(json.dumps({"credsStore": "none", "credHelpers": {"r": "test"}}))
    assert run(["login", "-u", "alice", "-p", "secret", "r"]) == 0
    assert "unencrypted" not in capsys.readouterr().err
    assert json.loads(helper.read_text()) == {"r": {"ServerURL": "r", "Username": "alice", "Secret": "secret"}}
    assert json.loads(config.read_text())["auths"] == {"r": {}}
    assert credentials.lookup("r") == Credential("r", "alice", "secret")
    header = json.loads(base64.urlsafe_b64decode(credentials.config_header()["X-Registry-Config"]))
    assert header == {"r": {"username": "alice", "password": "secret", "serveraddress": "r"}}
    assert run(["logout", "r"]) == 0
    assert (json.loads(helper.read_text()), json.loads(config.read_text())["auths"]) == ({}, {})
    assert credentials.lookup("r") is None


def test_a_helper_program_may_have_a_token(config: Path, helper: Path) -> None:
    config.write_text('{"credsStore": "test"}')
    helper.write_text(json.dumps({"r": {"ServerURL": "r", "Username": "<token>", "Secret": "tok"}}))
    assert credentials.lookup("r") == Credential("r", token="tok")
    credentials.store(Credential("s", "u", token="t2"))
    assert json.loads(helper.read_text())["s"] == {"ServerURL": "s", "Username": "<token>", "Secret": "t2"}


def test_a_missing_helper_program_is_named(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    config.write_text('{"credsStore": "nosuch"}')
    assert run(["login", "-u", "a", "-p", "b", "r"]) == 1
    assert 'exec: "docker-credential-nosuch": executable file not found in $PATH' in capsys.readouterr().err


def test_pull_push_and_run_show_the_password(daemon: Daemon, config: Path, capsys: Outputs) -> None:
    config.write_text(json.dumps({"auths": {"r:1": {"auth": auth("alice", "secret")}}}))
    daemon.routes["POST /images/create"] = Answer(body={"status": "Pulling from x", "id": "1"})
    daemon.routes["POST /images/r:1/x/push"] = Answer(
        chunks=[b'{"status":"The push refers to repository [r:1/x]"}\n', b'{"progressDetail":{},"aux":{"Tag":"1"}}\n']
    )
    assert run(["pull", "r:1/x:1"]) == 0
    assert run(["push", "r:1/x:1"]) == 0
    assert run(["push", "-a", "r:1/x"]) == 0
    assert [request.query for request in daemon.requests] == [
        {"fromImage": ["r:1/x"], "tag": ["1"]},
        {"tag": ["1"]},
        {},
    ]
    shown = {"username": "alice", "password": "secret", "serveraddress": "r:1"}
    for request in daemon.requests:
        assert json.loads(base64.urlsafe_b64decode(request.headers["X-Registry-Auth"])) == shown
    assert capsys.readouterr().out.splitlines() == [
        "1: Pulling from x", "r:1/x:1", "The push refers to repository [r:1/x]", "The push refers to repository [r:1/x]"
    ]  # fmt: skip

"""Runs docker-py's own integration suite, unedited, against a daemon, and says what it saw.

    scripts/compat CHECKOUT [SOCKET] [--expect FILE] [--api-version X.Y] [-- pytest arguments]

CHECKOUT is a clone of docker-py (7.x). Without SOCKET a private daemon is started in a network namespace of its own,
with a registry on that namespace's 127.0.0.1:5000 as its mirror. The images that the suite pulls (alpine, busybox,
hello-world) are made from this machine's busybox, loaded into the daemon and put into the registry. The suite is left
in peace but for the tests of swarm, plugins, services, secrets and configs. FILE lists ids that must pass, one a line,
as `package.module.Class::test`; then others may fail. Exit code: 0 all well, 1 something failed.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from xml.etree import ElementTree

from tests.e2e.world import Daemon, busybox_rootfs, eventually, new_world

REGISTRY = "127.0.0.1:5000"
IMAGES: Mapping[str, tuple[str, ...]] = {
    "alpine": ("3.10", "latest"),
    "busybox": ("latest",),
    "hello-world": ("latest",),
}
ASIDE = ("swarm", "plugin", "service", "secret", "config", "nodes")
NEEDS = ("requests>=2.26", "urllib3>=1.26", "paramiko", "websocket-client>=1.3", "pytest<9", "pytest-timeout")
USERS = (
    "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
)


def image_archive(name: str, tags: tuple[str, ...]) -> bytes:
    """A `docker save` archive of an image called `name`, which differs from the others in content, and so in id."""
    layer = _layer(name)
    command = ["echo", "Hello from Docker!"] if name == "hello-world" else ["sh"]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Cmd": command, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": f"made from busybox to stand for {name}"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:{tag}" for tag in tags], "Layers": ["layer.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in (
            ("layer.tar", layer),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            _add(tar, path, data)
    return out.getvalue()


def _layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(busybox_rootfs())) as source, tarfile.open(fileobj=out, mode="w") as tar:
        for entry in source:
            if entry.name != "etc/passwd":
                tar.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
        directory = tarfile.TarInfo("var/opt")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(directory)
        _add(tar, "etc/passwd", USERS.encode())
        _add(tar, "etc/os-release", f"ID={name}\n".encode())
    return out.getvalue()


def _add(tar: tarfile.TarFile, path: str, data: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def load(address: Path, archive: bytes) -> None:
    """`docker load` over the API, since the daemon may be anybody's."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(address))
    connection.request("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
    reply = connection.getresponse()
    said = reply.read()
    if reply.status != 200 or b'"error"' in said:
        raise SystemExit(f"the daemon did not load an image: {reply.status} {said.decode(errors='replace')}")


@contextmanager
def registry(namespace: str, directory: Path, archives: Mapping[str, bytes]) -> Iterator[None]:
    """Debian's docker-registry on the namespace's loopback, holding the images as Docker's library does."""
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}},
        "http": {"addr": REGISTRY},
    }
    (directory / "registry.json").write_text(json.dumps(settings))
    inside = ["nsenter", f"--net={namespace}"]
    with (directory / "registry.log").open("wb") as log:
        command = [*inside, "docker-registry", "serve", str(directory / "registry.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            ask = [*inside, "curl", "-sf", f"http://{REGISTRY}/v2/"]
            eventually(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "the registry")
            for name, archive in archives.items():
                path = directory / f"{name}.tar"
                path.write_bytes(archive)
                for tag in IMAGES[name]:
                    source = f"docker-archive:{path}:docker.io/library/{name}:{tag}"
                    target = f"docker://{REGISTRY}/library/{name}:{tag}"
                    copy = [*inside, "skopeo", "copy", "-q", "--dest-tls-verify=false", source, target]
                    subprocess.run(copy, check=True)
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def private_daemon(archives: Mapping[str, bytes]) -> Iterator[tuple[Path, list[str]]]:
    """A daemon's socket, and what to put before a command to run it beside that daemon."""
    with ExitStack() as stack:
        world = new_world()
        stack.callback(shutil.rmtree, world.root, ignore_errors=True)
        stack.callback(world.close)
        stack.enter_context(registry(world.host, world.root, archives))
        config = world.root / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [f"http://{REGISTRY}"], "experimental": True}))
        # One test asks for a shared bind, which needs a root file system that is a shared mount, as systemd has it.
        shared = ("unshare", "--mount", "--propagation", "shared")
        daemon = Daemon(world, "compat", flags=("--config-file", str(config)), within=shared)
        stack.callback(daemon.close)
        daemon.start()
        yield daemon.socket, ["nsenter", f"--net={world.host}"]


def python_for(checkout: Path) -> Path:
    """A python with what the suite needs; the library itself is taken from the checkout."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netpy-compat"
    python, stamp = home / "bin/python", home / "made-from"
    if not stamp.exists() or stamp.read_text() != "\n".join(NEEDS):
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDS], check=True)
        stamp.write_text("\n".join(NEEDS))
    if not (checkout / "tests/integration").is_dir():
        raise SystemExit(f"{checkout} is no checkout of docker-py: it has no tests/integration")
    return python


def run_suite(options: argparse.Namespace, address: Path, beside: list[str], results: Path) -> int:
    """The suite's exit code; what each test said is in `results`."""
    python = python_for(options.checkout)
    # The credential helpers' tests are about the client's machine, and one of them takes DOCKER_HOST from the others.
    aside = ["--ignore=tests/integration/credentials"]
    aside += [
        f"--ignore={path.relative_to(options.checkout)}"
        for path in sorted((options.checkout / "tests/integration").glob("*_test.py"))
        if any(word in path.name for word in ASIDE)
    ]
    arguments = options.pytest or ["tests/integration"]
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / ".docker"
        settings.mkdir()
        (settings / "config.json").write_text("{}")  # without one, contexts would be kept in the checkout
        environment = {**os.environ, "DOCKER_HOST": f"unix://{address}", "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("DOCKER_TEST_API_VERSION", None)
        if options.api_version:
            environment["DOCKER_TEST_API_VERSION"] = options.api_version
        plugins = ["-p", "no:cacheprovider", "-o", "junit_family=xunit2", "-o", "junit_logging=all"]
        command = [*beside, str(python), "-m", "pytest", "--timeout=180", f"--junitxml={results}", *plugins]
        return subprocess.run(
            [*command, *aside, *arguments], cwd=options.checkout, env=environment, check=False
        ).returncode


def outcomes(results: Path) -> dict[str, str]:
    """`passed`, `failed` or `skipped` by id."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        skipped = case.find("skipped")
        wrong = case.find("failure") is not None or case.find("error") is not None
        expected = skipped is not None and skipped.get("type") == "pytest.xfail"
        said = "failed" if wrong else "passed" if skipped is None or expected else "skipped"
        found[f"{case.get('classname')}::{case.get('name')}"] = said
    return found


def report(found: Mapping[str, str], expected: set[str]) -> int:
    """Prints how it went; the exit code."""
    count = {said: sum(1 for answer in found.values() if answer == said) for said in ("passed", "failed", "skipped")}
    failed = sorted(id for id, said in found.items() if said == "failed")
    missing = sorted(id for id in expected if found.get(id) != "passed")
    for id in missing:
        print(f"must pass, but {found.get(id, 'was not run')}: {id}")
    for id in failed:
        if id not in expected:
            print(f"failed{', as it may' if expected else ''}: {id}")
    if expected:
        print(f"{len(expected) - len(missing)} of the {len(expected)} that must pass did")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return int(bool(missing) if expected else bool(failed) or not count["passed"])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/compat", usage=(__doc__ or "").splitlines()[2].strip())
    parser.add_argument("checkout", type=lambda text: Path(text).resolve())
    parser.add_argument("socket", nargs="?", type=lambda text: Path(text.removeprefix("unix://")).resolve())
    parser.add_argument("--expect", type=Path, help="a file of ids that must pass")
    parser.add_argument("--api-version", default="", help="DOCKER_TEST_API_VERSION for the suite")
    own, _, rest = (list(part) for part in _split(sys.argv[1:]))
    options = parser.parse_args(own)
    options.pytest = rest
    return options


def _split(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at : at + 1], words[at + 1 :]


def main() -> int:
    options = parse()
    lines = options.expect.read_text().splitlines() if options.expect else []
    expected = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    archives = {name: image_archive(name, tags) for name, tags in IMAGES.items()}
    with ExitStack() as stack:
        address, beside = options.socket, []
        if address is None:
            address, beside = stack.enter_context(private_daemon(archives))
        for archive in archives.values():
            load(address, archive)
        results = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "results.xml"
        status = run_suite(options, address, beside, results)
        if not results.exists():
            print(f"the suite did not run: exit code {status}")
            return 1
        return report(outcomes(results), expected)


if __name__ == "__main__":
    sys.exit(main())

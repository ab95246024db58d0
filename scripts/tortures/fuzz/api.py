"""What schemathesis makes of docs/openapi.json, sent to a live daemon: requests that keep the description or break it.

Names in paths are, more often than not, those of things that are there, else nothing but 404 would be seen. What must
not happen in a trial is steered aside: ways to the host's own files, to the resident, to registries, and answers that
never end.
"""

from __future__ import annotations

import json
import random
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from requests import Response
from schemathesis import Case, GenerationMode

from scripts.tortures.fuzz.stage import BASE, PATIENCE, RESIDENT, Stage, stage
from scripts.tortures.tally import Tally

DESCRIPTION = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
# It never ends by design, or waits for what nobody will say.
ENDLESS = frozenset({"/containers/{id}/attach", "/containers/{id}/attach/ws", "/containers/{id}/wait"})
# Docker, too, says 500 to these: what stands in the way is the machine, a program, or another server.
FIVE_HUNDRED = re.compile(
    r"port is already allocated|address already in use|exhausted|no such (file|host)|connection refused|"
    r"executable file not found|permission denied|runtime|runc|crun|cgroup|Invalid argument|registry|"
    r"^error: |no host given|not supported|is not running|no free|"
    r"network is unreachable|rootfs",
    re.IGNORECASE,
)
VICTIM = "victim"
_KNOWN = {"networks": "lane", "containers": VICTIM, "volumes": "vault", "images": "busybox", "drivers": "bridge"}


def attack(
    tally: Tally, *, seed: int, rounds: int, only: Callable[[str], bool] = lambda _: True, most: int = 10_000
) -> None:
    """`rounds` requests for each of at most so many operations; `seed` decides which, in what order, what is said."""
    schema = schemathesis.openapi.from_path(DESCRIPTION)
    operations = [found.ok() for found in schema.get_all_operations()]
    chosen = [each for each in operations if each.path not in ENDLESS and only(each.path)]
    random.Random(seed).shuffle(chosen)
    del chosen[most:]
    with stage("api", tally) as it:
        aims = Aims(it, random.Random(seed))
        aims.furnish()
        for number, operation in enumerate(chosen):
            _ask_all(it, aims, operation, (seed + number, rounds))
            if operation.method.upper() not in ("GET", "HEAD"):  # these change nothing
                aims.furnish()
            tally.count("operations of the API")
        it.empty()
        it.judge()


@schemathesis.serializer("application/x-tar")
def _as_archive(context: Any, value: Any) -> bytes:
    """Whatever was drawn, as bytes: `fuzz.archives` makes the archives that nearly are."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _ask_all(it: Stage, aims: Aims, operation: Any, limits: tuple[int, int]) -> None:
    """Hypothesis draws the requests; a finding does not end the series."""
    keeping = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    strategy = keeping
    if operation.body or list(operation.query or ()):
        strategy = keeping | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @seed(limits[0])
    @settings(
        max_examples=limits[1], deadline=None, database=None, phases=[Phase.generate], verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=strategy)
    def each(case: Case) -> None:
        if not aims.steer(case):
            return
        answer = _ask(it, case)
        if answer is not None and answer.status_code == 201 and case.operation.path == "/containers/create":
            _send(it, f"start of {_short(case.body)}", "POST", f"/containers/{answer.json()['Id']}/start")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each()


def _ask(it: Stage, case: Case) -> Response | None:
    options = case.as_transport_kwargs(base_url=BASE)
    what = f"{case.method} {case.formatted_path} {case.query or ''} {_short(case.body)}"
    given = {name: value for name, value in options["headers"].items() if name == "Content-Type"}
    sent = {name: options.get(name) for name in ("params", "json", "data")}
    return _send(it, what, options["method"], case.formatted_path, headers=given, **sent)


def _send(it: Stage, what: str, method: str, path: str, **options: Any) -> Response | None:
    """Ask and judge the answer; None when there was none."""
    it.tally.count("requests")
    try:
        answer = it.ask(method, path, **options)
    except (OSError, ValueError) as error:
        it.blame(f"{what}: no answer within {PATIENCE:.0f} s: {error}")
        return None
    for line in it.tracebacks():
        it.blame(f"{what}: traceback in the log: {line}")
    if answer.status_code >= 400 and method.upper() != "HEAD" and (wrong := _complaint(answer)):
        it.blame(f"{what}: {answer.status_code} {wrong}")
    return answer


def _complaint(answer: Response) -> str:
    """What is wrong with a refusal."""
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        return f"is no error document: {answer.text[:200]}"
    if not isinstance(message, str) or not message:
        return f"has no message: {answer.text[:200]}"
    if "internal error" in message or (answer.status_code == 500 and not FIVE_HUNDRED.search(message)):
        return message
    return ""


class Aims:
    """Leads requests to things that are there, and away from what is not on trial."""

    def __init__(self, it: Stage, chance: random.Random) -> None:
        self._it = it
        self._chance = chance
        self._scratch = it.netpy.world.root / "scratch"
        self._scratch.mkdir()

    def furnish(self) -> None:
        """A container, a network and a volume that may come to harm; what earlier requests have left goes."""
        self._it.empty()
        self._it.ask("POST", "/networks/create", json={"Name": _KNOWN["networks"]})
        self._it.ask("POST", "/volumes/create", json={"Name": _KNOWN["volumes"]})
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": _KNOWN["networks"]}}
        self._it.ask("POST", f"/containers/create?name={VICTIM}", json=body)
        self._it.ask("POST", f"/containers/{VICTIM}/start")

    def steer(self, case: Case) -> bool:
        """Change a request so that it hits; whether it may be sent."""
        kind = case.operation.path.split("/")[1 if "/netpy/" not in case.operation.path else 2]
        path: dict[str, Any] = case.path_parameters  # pyright: ignore
        if path and self._chance.random() < 0.7:
            path.update({name: _KNOWN.get(kind, self._exec()) for name in path})
        if case.operation.path in ("/images/{name}/push", "/distribution/{name}/json"):
            path["name"] = "localhost:1/x"
        if any(self._is_resident(value) for value in (path or {}).values()):
            return False
        if isinstance(case.query, dict):
            self._steer_query(case, case.query)
        if isinstance(case.body, dict):
            self._steer_body(case.operation.path, case.body)
        return not _mentions(case.body, self._is_resident)

    def _steer_query(self, case: Case, query: dict[str, Any]) -> None:
        """No series without an end, no waiting for a program that will not stop, no other machine."""
        fixed = {
            "/events": {"until": "1"},
            "/containers/{id}/stats": {"stream": "0"},
            "/containers/{id}/stop": {"t": "0"},
            "/containers/{id}/restart": {"t": "0"},
            "/containers/{id}/logs": {"follow": "0"},
            "/images/search": {"term": "localhost:1/x"},
            "/build": {"remote": "", "pull": "0"},
        }
        query.update(fixed.get(case.operation.path, {}))
        if case.operation.path == "/images/create":
            query["fromSrc"] = "-"
        if "fromImage" in query:
            query["fromImage"] = f"localhost:1/{query['fromImage']}"
        if self._chance.random() < 0.5 and "container" in query:
            query["container"] = VICTIM

    def _steer_body(self, path: str, body: dict[str, Any]) -> None:
        if path == "/containers/create" and self._chance.random() < 0.8:
            body["Image"] = "busybox"
        if path.startswith("/networks/{id}") and self._chance.random() < 0.7:
            body["Container"] = VICTIM
        if path == "/exec/{id}/start":
            body["Detach"] = True
        if path == "/auth":
            body["serveraddress"] = "localhost:1"
        host = body.get("HostConfig")
        if isinstance(host, dict):
            self._steer_host(host)

    def _steer_host(self, host: dict[str, Any]) -> None:
        """Nothing of the machine's own is bound, made or set."""
        for name in ("Devices", "CgroupParent", "ContainerIDFile", "VolumesFrom", "Runtime"):
            host.pop(name, None)
        if isinstance(binds := host.get("Binds"), list):
            host["Binds"] = [f"{self._scratch}/{each}" if isinstance(each, str) else each for each in binds]
        if isinstance(mounts := host.get("Mounts"), list):
            for mount in mounts:
                if isinstance(mount, dict) and isinstance(mount.get("Source"), str):
                    mount["Source"] = f"{self._scratch}/{mount['Source']}"
                    mount.pop("VolumeOptions", None)

    def _exec(self) -> str:
        made = self._it.ask("POST", f"/containers/{VICTIM}/exec", json={"Cmd": ["true"]}).json()
        return str(made.get("Id", "none"))

    def _is_resident(self, value: Any) -> bool:
        text = str(value).lstrip("/")
        return bool(text) and (self._it.resident.startswith(text) or text == RESIDENT)


def _mentions(value: Any, wrong: Callable[[Any], bool]) -> bool:
    """Whether a text of a document names what must be left alone."""
    return any(isinstance(each, str) and wrong(each.removeprefix("container:")) for each in _texts(value))


def _texts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    else:
        yield value


def _short(body: Any) -> str:
    try:
        return json.dumps(body)[:300]
    except TypeError:
        return repr(body)[:100]

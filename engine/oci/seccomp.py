"""The seccomp filter of a container, as the OCI configuration carries it.

`default` states Docker's policy for the host's machine type and the capabilities of the container: an allow-list
(`engine.oci.syscalls`), plus the few calls whose arguments decide. `custom` turns a profile in Docker's own file
format, as `--security-opt seccomp=FILE` hands it over, into the same. Pure.

The runtime compiles the filter anew for every container, and each architecture in it costs milliseconds, so only the
machine's own and its 32-bit sibling are in it: x32, which hardly any kernel enables, is not, and is thereby refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from engine.model import Json
from engine.oci.syscalls import ALWAYS, ON_MACHINE, WITH_CAPABILITY
from netpy.errors import InvalidArgument

EPERM, ENOSYS = 1, 38
AF_VSOCK = 40
# clone() may not make namespaces: CLONE_NEWNS|NEWCGROUP|NEWUTS|NEWIPC|NEWUSER|NEWPID|NEWNET (linux/sched.h).
_NEW_NAMESPACES = 0x7E020000
# personality(): PER_LINUX, PER_LINUX32, each with UNAME26 or not, and the query.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "i686": ("SCMP_ARCH_X86",),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "armv7l": ("SCMP_ARCH_ARM",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}
# Docker's profiles select by Go's names for machines.
_GO_NAMES = {"x86_64": "amd64", "i686": "x86", "aarch64": "arm64", "armv7l": "arm"}


def default(machine: str, capabilities: Iterable[str]) -> Json:
    """The default filter. `machine` is what `uname -m` says; `capabilities` is what the container has."""
    held = frozenset(capabilities)
    names = dict.fromkeys((*ALWAYS, *ON_MACHINE.get(machine, ())))
    for capability in sorted(held & WITH_CAPABILITY.keys()):
        names |= dict.fromkeys(WITH_CAPABILITY[capability])
    rules = [_allow(list(names)), *_conditional(machine, held)]
    return _profile("SCMP_ACT_ERRNO", list(ARCHITECTURES.get(machine, ())), rules) | {"defaultErrnoRet": EPERM}


def _conditional(machine: str, held: frozenset[str]) -> list[Json]:
    rules = [_allow(["personality"], {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}) for value in _PERSONALITIES]
    # A vsock reaches the hypervisor past every network namespace.
    rules.append(_allow(["socket"], {"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}))
    if "CAP_SYS_ADMIN" not in held:
        flags = 1 if machine.startswith("s390") else 0
        mask = {"index": flags, "value": _NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        rules.append(_allow(["clone"], mask))
        # A filter cannot see clone3's flags, which are in memory. ENOSYS makes the C library fall back to clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS})
    return rules


def _allow(names: list[str], *arguments: Json) -> Json:
    return {"names": names, "action": "SCMP_ACT_ALLOW"} | ({"args": list(arguments)} if arguments else {})


def _profile(action: str, architectures: list[str], rules: list[Json]) -> Json:
    return {"defaultAction": action, "architectures": architectures, "syscalls": rules}


def custom(text: str, machine: str, capabilities: Iterable[str]) -> Json:
    """A filter from a profile in Docker's JSON format. Raises InvalidArgument where it is not one.

    `archMap`, and `includes` and `excludes` by machine and by capability, are resolved here; a condition on the
    kernel's version holds, as every kernel we run on is newer than those in use there.
    """
    try:
        document = cast("object", json.loads(text))
    except ValueError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(document, dict) or "defaultAction" not in document:
        raise InvalidArgument("Decoding seccomp profile failed: defaultAction is missing")
    body = cast("Json", document)
    held = frozenset(capabilities)
    rules = [_rule(rule) for rule in cast("list[Json]", body.get("syscalls") or []) if _applies(rule, machine, held)]
    profile = _profile(str(body["defaultAction"]), _architectures(body, machine), rules)
    return profile | {key: body[key] for key in ("defaultErrnoRet", "flags") if body.get(key) is not None}


def _architectures(body: Json, machine: str) -> list[str]:
    wanted = ARCHITECTURES.get(machine, ())
    for entry in cast("list[Json]", body.get("archMap") or []):
        if wanted and entry.get("architecture") == wanted[0]:
            return [wanted[0], *cast("list[str]", entry.get("subArchitectures") or [])]
    return cast("list[str]", body.get("architectures") or list(wanted))


def _applies(rule: Json, machine: str, held: frozenset[str]) -> bool:
    includes, excludes = _condition(rule, "includes"), _condition(rule, "excludes")
    name = _GO_NAMES.get(machine, machine)
    if includes["arches"] and name not in includes["arches"]:
        return False
    return (
        name not in excludes["arches"]
        and includes["caps"] <= held
        and not (excludes["caps"] & held)
        and not excludes["minKernel"]
    )


def _condition(rule: Json, kind: str) -> dict[str, frozenset[str]]:
    given = cast("Mapping[str, Any]", rule.get(kind) or {})
    kernel = given.get("minKernel")
    return {
        "arches": frozenset(given.get("arches") or ()),
        "caps": frozenset(given.get("caps") or ()),
        "minKernel": frozenset([str(kernel)] if kernel else []),
    }


def _rule(rule: Json) -> Json:
    names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
    kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) not in (None, [])}
    return {"names": names} | kept

"""`update`: other limits or another restart policy for containers that exist."""

from __future__ import annotations

from engine.cli import resources
from engine.cli.command import Call, CommandError, command, each
from engine.cli.flags import Flag, number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _flags() -> list[Flag]:
    return [
        number("--blkio-weight", help="Block IO weight, 10 to 1000; 0 leaves it"),
        number("--cpu-period", help="CPU CFS period, in microseconds"),
        number("--cpu-quota", help="CPU CFS quota, in microseconds"),
        number("--cpu-rt-period", help="CPU real-time period, in microseconds"),
        number("--cpu-rt-runtime", help="CPU real-time runtime, in microseconds"),
        number("-c", "--cpu-shares", help="CPU shares (relative weight)"),
        text("--cpus", help="Number of CPUs", kind="decimal"),
        text("--cpuset-cpus", help="CPUs to run on (0-3, 0,1)"),
        text("--cpuset-mems", help="Memory nodes to use (0-3, 0,1)"),
        text("-m", "--memory", help="Memory limit", kind="bytes"),
        text("--memory-reservation", help="Memory soft limit", kind="bytes"),
        text("--memory-swap", help="Memory plus swap; -1 for unlimited swap", kind="bytes"),
        number("--pids-limit", help="Limit of processes; -1 for unlimited"),
        text("--restart", help="Restart policy: no, on-failure[:n], always, unless-stopped"),
    ]


@command("update", "CONTAINER [CONTAINER...]", *_flags(), least=1, most=None)
def update(call: Call) -> int | None:
    """Update configuration of one or more containers"""
    if not any(call.options.given(flag.name) for flag in _flags()):
        raise CommandError("you must provide one or more flags when using this command")
    body = update_body(call)
    warnings: list[str] = []

    def act(name: str) -> str:
        answer = call.client.request("POST", f"/containers/{name}/update", body=body).json()
        warnings.extend(answer.get("Warnings") or [])
        return name

    code = each(call, act)
    if warnings:
        print("\n".join(warnings))
    return code


def update_body(call: Call) -> dict[str, Any]:
    """The document of POST /containers/{id}/update; a zero leaves things as they are."""
    options = call.options
    try:
        return {
            "BlkioWeight": options.number("blkio_weight"),
            "CpuPeriod": options.number("cpu_period"),
            "CpuQuota": options.number("cpu_quota"),
            "CpuRealtimePeriod": options.number("cpu_rt_period"),
            "CpuRealtimeRuntime": options.number("cpu_rt_runtime"),
            "CpuShares": options.number("cpu_shares"),
            "NanoCpus": resources.nano_cpus(options.text("cpus")),
            "CpusetCpus": options.text("cpuset_cpus"),
            "CpusetMems": options.text("cpuset_mems"),
            "Memory": resources.size_of(options, "memory"),
            "MemoryReservation": resources.size_of(options, "memory-reservation"),
            "MemorySwap": resources.size_of(options, "memory-swap", unlimited=True),
            "PidsLimit": options.number("pids_limit") if options.given("pids_limit") else None,
            "RestartPolicy": resources.restart_policy(options.text("restart")) if options.given("restart") else {},
        }
    except ValueError as error:
        raise CommandError(str(error)) from error

"""The flags of `run` and `create`: Docker's names, with what they mean here. Declarations only."""

from __future__ import annotations

from engine.cli.flags import Flag, flag, many, number, text


def shared() -> list[Flag]:
    """The flags that both commands have."""
    return [*_identity(), *_networking(), *_process(), *_storage(), *_limits(), *_security(), *_health(), *_rest()]


def only_run() -> list[Flag]:
    return [
        flag("-d", "--detach", help="Run in the background and print the container's ID"),
        text("--detach-keys", help="Override the key sequence for detaching a container"),
        flag("--sig-proxy", help="Proxy received signals to the process", default=True),
    ]


def _identity() -> list[Flag]:
    return [
        text("--name", help="Name the container"),
        text("-h", "--hostname", help="Container host name"),
        text("--domainname", help="Container NIS domain name"),
        many("-l", "--label", help="Set meta data, key=value"),
        many("--label-file", help="Read labels from a file, one a line"),
        many("--annotation", help="Add an annotation for the OCI runtime, key=value", kind="map"),
        text("--cidfile", help="Write the container ID to this file"),
        text("--platform", help="Platform of the image, if it has several"),
        text("--pull", help='Pull the image before creating ("always", "missing", "never")', default="missing"),
        flag("-q", "--quiet", help="Suppress the pull output"),
        flag("--dry-run", help="Print the plan of the network and change nothing"),
    ]


def _networking() -> list[Flag]:
    return [
        many("--network", "--net", help="Connect to a network, NAME or name=…,ip=…,alias=…", kind="network"),
        many("--network-alias", "--net-alias", help="Add another name on the network"),
        text("--ip", help="IPv4 address (e.g., 172.30.100.104)"),
        text("--ip6", help="IPv6 address (e.g., 2001:db8::33)"),
        many("--link", help="Add a link to another container, name:alias"),
        many("--link-local-ip", help="Container IPv4/IPv6 link-local addresses"),
        text("--mac-address", help="Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
        many("--dns", help="Set custom DNS servers"),
        many("--dns-search", help="Set custom DNS search domains"),
        many("--dns-option", "--dns-opt", help="Set DNS options"),
        many("--add-host", help="Add a line to /etc/hosts, host:ip"),
        many("-p", "--publish", help="Publish a container's port to the host, [ip:][host:]port[/udp]"),
        flag("-P", "--publish-all", help="Publish all exposed ports to random ports"),
        many("--expose", help="Expose a port or a range of ports"),
    ]


def _process() -> list[Flag]:
    return [
        many("-a", "--attach", help="Attach to STDIN, STDOUT or STDERR"),
        flag("-i", "--interactive", help="Keep STDIN open even if not attached"),
        flag("-t", "--tty", help="Allocate a pseudo-TTY"),
        many("-e", "--env", help="Set environment variables"),
        many("--env-file", help="Read environment variables from a file"),
        text("--entrypoint", help="Overwrite the image's ENTRYPOINT"),
        text("-w", "--workdir", help="Working directory inside the container"),
        text("-u", "--user", help="Username or UID, <name|uid>[:<group|gid>]"),
        many("--group-add", help="Additional groups to join"),
        text("--restart", help="Restart policy: no, on-failure[:n], always, unless-stopped", default="no"),
        flag("--rm", help="Remove the container and its anonymous volumes when it exits"),
        text("--stop-signal", help="Signal to stop the container"),
        number("--stop-timeout", help="Seconds to wait before killing it on stop"),
        flag("--init", help="Run an init that forwards signals and reaps processes"),
    ]


def _storage() -> list[Flag]:
    return [
        many("-v", "--volume", help="Bind mount a directory or a volume, source:target[:ro]"),
        many("--mount", help="Attach a file system, type=bind,source=…,target=…", kind="mount"),
        many("--tmpfs", help="Mount a tmpfs directory"),
        many("--volumes-from", help="Mount the volumes of these containers"),
        text("--volume-driver", help="Volume driver of the container"),
        many("--storage-opt", help="Storage driver options"),
        flag("--read-only", help="Mount the container's root file system read only"),
        many("--device", help="Add a host device, host[:container[:rwm]]"),
        text("--gpus", help="GPU devices to add: all, or how many"),
        many("--device-cgroup-rule", help="Add a rule to the list of allowed devices"),
        text("--shm-size", help="Size of /dev/shm", kind="bytes"),
    ]


def _limits() -> list[Flag]:
    return [
        text("-m", "--memory", help="Memory limit", kind="bytes"),
        text("--memory-swap", help="Memory plus swap; -1 for unlimited swap", kind="bytes"),
        text("--memory-reservation", help="Memory soft limit", kind="bytes"),
        number("--memory-swappiness", help="Swappiness of memory, 0 to 100", default=-1),
        text("--cpus", help="Number of CPUs", kind="decimal"),
        number("-c", "--cpu-shares", help="CPU shares (relative weight)"),
        number("--cpu-quota", help="CPU CFS quota, in microseconds"),
        number("--cpu-period", help="CPU CFS period, in microseconds"),
        text("--cpuset-cpus", help="CPUs to run on (0-3, 0,1)"),
        text("--cpuset-mems", help="Memory nodes to use (0-3, 0,1)"),
        number("--pids-limit", help="Limit of processes; -1 for unlimited"),
        number("--cpu-rt-period", help="CPU real-time period, in microseconds"),
        number("--cpu-rt-runtime", help="CPU real-time runtime, in microseconds"),
        text("--kernel-memory", help="Accepted: kernels no longer have this limit", kind="bytes"),
        number("--blkio-weight", help="Block IO weight, 10 to 1000"),
        many("--blkio-weight-device", help="Block IO weight of a device, path:weight"),
        many("--device-read-bps", help="Limit of reading from a device, path:bytes per second"),
        many("--device-write-bps", help="Limit of writing to a device, path:bytes per second"),
        many("--device-read-iops", help="Limit of reading from a device, path:operations per second"),
        many("--device-write-iops", help="Limit of writing to a device, path:operations per second"),
        many("--ulimit", help="Ulimit, name=soft[:hard]", kind="ulimit"),
        number("--oom-score-adj", help="The host's OOM preference, -1000 to 1000"),
        flag("--oom-kill-disable", help="Disable the OOM killer"),
        text("--cgroup-parent", help="Parent cgroup of the container"),
        many("--sysctl", help="Sysctl of the container, name=value", kind="map"),
    ]


def _security() -> list[Flag]:
    return [
        many("--cap-add", help="Add Linux capabilities"),
        many("--cap-drop", help="Drop Linux capabilities"),
        flag("--privileged", help="Give extended privileges"),
        many("--security-opt", help="Security options"),
        text("--pid", help="PID namespace to use"),
        text("--ipc", help="IPC mode to use"),
        text("--uts", help="UTS namespace to use"),
        text("--userns", help="User namespace to use"),
        text("--cgroupns", help="Cgroup namespace to use, host or private"),
    ]


def _health() -> list[Flag]:
    return [
        text("--health-cmd", help="Command to run to check health"),
        text("--health-interval", help="Time between checks (ms|s|m|h)", kind="duration"),
        number("--health-retries", help="Failures in a row that make it unhealthy"),
        text("--health-start-period", help="Time to come up before failures count", kind="duration"),
        text("--health-start-interval", help="Time between checks while it comes up", kind="duration"),
        text("--health-timeout", help="Longest time one check may take", kind="duration"),
        flag("--no-healthcheck", help="Disable the image's health check"),
    ]


def _rest() -> list[Flag]:
    return [
        text("--log-driver", help="Logging driver of the container"),
        many("--log-opt", help="Log driver options"),
        text("--runtime", help="OCI runtime to use"),
        text("--isolation", help="Container isolation technology: default"),
        flag("--disable-content-trust", help="Accepted: image signatures are not verified", default=True),
    ]

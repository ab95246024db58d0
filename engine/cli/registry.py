"""Every command of netpy: its name, the module that has it, its summary. Nothing is imported until it is used."""

from __future__ import annotations

from engine.cli.command import Entry, LazyGroup
from engine.cli.flags import flag, text

_C = "engine.cli."

RUNNING = {
    "run": Entry(_C + "run:run", "Create and run a new container from an image"),
    "create": Entry(_C + "run:create", "Create a new container"),
    "start": Entry(_C + "attach:start", "Start one or more stopped containers"),
    "attach": Entry(_C + "attach:attach", "Attach standard input, output and error to a running container"),
    "exec": Entry(_C + "execute:execute", "Execute a command in a running container"),
    "stop": Entry(_C + "lifecycle:stop", "Stop one or more running containers"),
    "restart": Entry(_C + "lifecycle:restart", "Restart one or more containers"),
    "kill": Entry(_C + "lifecycle:kill", "Kill one or more running containers"),
    "rm": Entry(_C + "lifecycle:remove", "Remove one or more containers"),
    "wait": Entry(_C + "lifecycle:wait", "Block until one or more containers stop, then print their exit codes"),
    "rename": Entry(_C + "lifecycle:rename", "Rename a container"),
    "update": Entry(_C + "update:update", "Update configuration of one or more containers"),
    "pause": Entry(_C + "lifecycle:pause", "Pause all processes within one or more containers"),
    "unpause": Entry(_C + "lifecycle:unpause", "Unpause all processes within one or more containers"),
    "cp": Entry(_C + "copy:copy", "Copy files/folders between a container and the local filesystem"),
    "diff": Entry(_C + "snapshots:diff", "Inspect changes to files or directories on a container's filesystem"),
    "export": Entry(_C + "snapshots:export", "Export a container's filesystem as a tar archive"),
    "commit": Entry(_C + "snapshots:commit", "Create a new image from a container's changes"),
    "logs": Entry(_C + "logs:logs", "Fetch the logs of a container"),
    "port": Entry(_C + "observe:port", "List port mappings or a specific mapping for the container"),
    "top": Entry(_C + "observe:top", "Display the running processes of a container"),
    "stats": Entry(_C + "stats:stats", "Display a live stream of container(s) resource usage statistics"),
}
IMAGES = {
    "build": Entry(_C + "build:build", "Build an image from a Dockerfile"),
    "history": Entry(_C + "image:history", "Show the history of an image"),
    "import": Entry(_C + "image:import_", "Import the contents from a tarball to create a filesystem image"),
    "load": Entry(_C + "image:load", "Load an image from a tar archive or STDIN"),
    "save": Entry(_C + "image:save", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "pull": Entry(_C + "transfer:pull", "Download an image from a registry"),
    "push": Entry(_C + "transfer:push", "Upload an image to a registry"),
    "tag": Entry(_C + "image:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
}
_PS = "List containers"
_IMAGES = "List images"
_RMI = "Remove one or more images"

CONTAINER = LazyGroup(
    "container",
    {
        **RUNNING,
        "ls": Entry(_C + "listing:ps", _PS),
        "list": Entry(_C + "listing:ps", _PS, hidden=True),
        "ps": Entry(_C + "listing:ps", _PS, hidden=True),
        "remove": Entry(_C + "lifecycle:remove", "Remove one or more containers", hidden=True),
        "inspect": Entry(_C + "inspect:container", "Display detailed information on one or more containers"),
        "prune": Entry(_C + "lifecycle:prune", "Remove all stopped containers"),
    },
    "Manage containers",
)
IMAGE = LazyGroup(
    "image",
    {
        **IMAGES,
        "ls": Entry(_C + "listing:images", _IMAGES),
        "list": Entry(_C + "listing:images", _IMAGES, hidden=True),
        "rm": Entry(_C + "image:remove", _RMI),
        "remove": Entry(_C + "image:remove", _RMI, hidden=True),
        "inspect": Entry(_C + "inspect:image", "Display detailed information on one or more images"),
        "prune": Entry(_C + "image:prune", "Remove unused images"),
    },
    "Manage images",
)
NETWORK = LazyGroup(
    "network",
    {
        "ls": Entry(_C + "listing:networks", "List networks"),
        "list": Entry(_C + "listing:networks", "List networks", hidden=True),
        "create": Entry(_C + "network:create", "Create a network"),
        "connect": Entry(_C + "network:connect", "Connect a container to a network"),
        "disconnect": Entry(_C + "network:disconnect", "Disconnect a container from a network"),
        "inspect": Entry(_C + "inspect:network", "Display detailed information on one or more networks"),
        "rm": Entry(_C + "network:remove", "Remove one or more networks"),
        "remove": Entry(_C + "network:remove", "Remove one or more networks", hidden=True),
        "prune": Entry(_C + "network:prune", "Remove all unused networks"),
        "check": Entry(_C + "network:check", "Compare the kernel with what should be, and name every difference"),
    },
    "Manage networks",
)
VOLUME = LazyGroup(
    "volume",
    {
        "create": Entry(_C + "volume:create", "Create a volume"),
        "inspect": Entry(_C + "inspect:volume", "Display detailed information on one or more volumes"),
        "ls": Entry(_C + "volume:volumes", "List volumes"),
        "list": Entry(_C + "volume:volumes", "List volumes", hidden=True),
        "prune": Entry(_C + "volume:prune", "Remove unused local volumes"),
        "rm": Entry(_C + "volume:remove", "Remove one or more volumes"),
        "remove": Entry(_C + "volume:remove", "Remove one or more volumes", hidden=True),
    },
    "Manage volumes",
)
BUILDER = LazyGroup(
    "builder",
    {
        "build": Entry(_C + "build:build", "Build an image from a Dockerfile"),
        "prune": Entry(_C + "build:prune", "Remove what builds keep for later ones"),
    },
    "Manage builds",
)
DRIVER = LazyGroup(
    "driver",
    {
        "ls": Entry(_C + "driver:drivers", "List drivers of networks and of addresses"),
        "list": Entry(_C + "driver:drivers", "List drivers of networks and of addresses", hidden=True),
        "options": Entry(_C + "driver:options", "Show the options of a network driver"),
        "new": Entry(_C + "driver:new", "Write a package with a driver that works, its tests and its README"),
        "test": Entry(_C + "driver:test", "Hold a driver to the rules that every driver keeps"),
    },
    "Manage and write drivers",
)
SYSTEM = LazyGroup(
    "system",
    {
        "info": Entry(_C + "system:info", "Display system-wide information"),
        "df": Entry(_C + "usage:disk_usage", "Show disk usage"),
        "events": Entry(_C + "events:events", "Get real time events from the server"),
        "prune": Entry(_C + "sweeping:prune", "Remove unused data"),
    },
    "Manage netpy",
)
PLUGIN = LazyGroup(
    "plugin",
    {"serve": Entry(_C + "plugin:serve", "Offer netpy's drivers to a Docker daemon on this machine, as a plugin")},
    "Be a plugin of Docker's",
)
ROOT = LazyGroup(
    "netpy",
    {
        **RUNNING,
        **IMAGES,
        "ps": Entry(_C + "listing:ps", _PS),
        "images": Entry(_C + "listing:images", _IMAGES),
        "login": Entry(_C + "login:login", "Authenticate to a registry"),
        "logout": Entry(_C + "login:logout", "Log out from a registry"),
        "search": Entry(_C + "transfer:search", "Search Docker Hub for images"),
        "rmi": Entry(_C + "image:remove", _RMI),
        "inspect": Entry(_C + "inspect:inspect", "Return low-level information on netpy objects"),
        "events": Entry(_C + "events:events", "Get real time events from the server"),
        "info": Entry(_C + "system:info", "Display system-wide information"),
        "version": Entry(_C + "system:version", "Show the netpy version information"),
        "daemon": Entry(_C + "daemon:daemon", "Run the daemon that owns networks and containers"),
        "completion": Entry(
            _C + "completion.scripts:completion", "Print the script that completes netpy's command lines in a shell"
        ),
        "__complete": Entry(_C + "completion.naming:complete", "What may follow the given words", hidden=True),
        "manpages": Entry(_C + "manual:manpages", "Write the manual pages into a directory", hidden=True),
        "container": Entry(_C + "registry:CONTAINER", "Manage containers"),
        "image": Entry(_C + "registry:IMAGE", "Manage images"),
        "network": Entry(_C + "registry:NETWORK", "Manage networks"),
        "volume": Entry(_C + "registry:VOLUME", "Manage volumes"),
        "driver": Entry(_C + "registry:DRIVER", "Manage and write drivers"),
        "builder": Entry(_C + "registry:BUILDER", "Manage builds"),
        "plugin": Entry(_C + "registry:PLUGIN", "Be a plugin of Docker's"),
        "system": Entry(_C + "registry:SYSTEM", "Manage netpy"),
    },
    "Networks, names and published ports for containers",
    [
        text(
            "-H", "--host", help="Daemon socket to connect to (default $NETPY_HOST, else unix:///run/netpy/netpy.sock)"
        ),
        flag("-v", "--version", help="Print version information and quit"),
    ],
)

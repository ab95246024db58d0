"""Examples of the commands that people use most, for help and manual: what is wanted, and the line for it. Data."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("A web server in the background, on port 8080 of this machine", "run -d --name web -p 8080:80 nginx"),
        ("What runs, and what has run", "ps -a"),
        ("A shell in it", "exec -it web sh"),
        ("Its output, as it comes", "logs -f web"),
        ("Stop it and remove it", "rm -f web"),
    ),
    "run": (
        ("A shell in a container that is gone when you leave it", "run --rm -it busybox sh"),
        ("In the background, port 8080 of this machine leads to its port 80", "run -d --name web -p 8080:80 nginx"),
        (
            "With a directory of yours, and a volume that outlives it",
            "run -v $PWD:/src:ro -v cache:/cache busybox ls /src",
        ),
        (
            "Two containers that answer to one name, in turn",
            "run -d --network lab --network-alias search busybox sleep 99",
        ),
        ("What would be done to the network, without doing it", "run --dry-run -p 8080:80 nginx"),
        (
            "With limits: half a processor, 64 MB, and started again when it fails",
            "run -d --cpus 0.5 -m 64m --restart on-failure:3 busybox sleep 99",
        ),
    ),
    "exec": (
        ("A shell in a running container", "exec -it web sh"),
        ("One command, with a variable and a directory", "exec -e LEVEL=2 -w /tmp web env"),
    ),
    "ps": (
        ("All, stopped ones too", "ps -a"),
        ("Only names and states", "ps --format 'table {{.Names}}\\t{{.Status}}'"),
        ("Those that failed", "ps -a --filter status=exited --filter exited=1"),
    ),
    "logs": (
        ("The last ten lines, and what comes next", "logs --tail 10 -f web"),
        ("Since ten minutes, with times", "logs --since 10m -t web"),
    ),
    "build": (
        ("From the Dockerfile in this directory", "build -t app:1.0 ."),
        (
            "Another file, one stage of it, with an argument",
            "build -f server.Dockerfile --target test --build-arg V=2 .",
        ),
        ("From standard input, without a context", "build -t tiny - < Dockerfile"),
    ),
    "pull": (("The tag latest", "pull busybox"), ("From a registry of your own", "pull 127.0.0.1:5000/team/app:1.0")),
    "push": (("To a registry of your own", "push 127.0.0.1:5000/team/app:1.0"),),
    "images": (
        ("Names only", "images --format '{{.Repository}}:{{.Tag}}'"),
        ("Those without a name", "images --filter dangling=true"),
    ),
    "cp": (
        ("Into a container", "cp index.html web:/srv/"),
        ("Out of it", "cp web:/var/log ./logs"),
        ("As a tar", "cp web:/etc - | tar t"),
    ),
    "commit": (
        ("A stopped or running container as an image", "commit -m 'with vim' -c 'CMD [\"vim\"]' web team/web:vim"),
    ),
    "save": (("Two images in one file", "save -o both.tar busybox:latest nginx:latest"),),
    "load": (("From a file", "load -i both.tar"),),
    "import": (("A root file system, with a command", "import -c 'CMD [\"sh\"]' rootfs.tar mine:latest"),),
    "inspect": (
        ("One fact", "inspect --format '{{.NetworkSettings.IPAddress}}' web"),
        ("A network", "inspect --type network lab"),
    ),
    "stop": (("Kill after two seconds if it does not end by itself", "stop -t 2 web"),),
    "rm": (
        ("Even if it runs, its anonymous volumes too", "rm -fv web"),
        ("All that are stopped", "rm $(netpy ps -aq --filter status=exited)"),
    ),
    "network create": (
        ("A network; the subnet is found for you", "network create lab"),
        ("With a subnet of your choice", "network create --subnet 10.9.0.0/24 --gateway 10.9.0.1 lab"),
        ("Cut off from outside", "network create --internal vault"),
        ("The plan, and nothing else", "network create --dry-run lab"),
    ),
    "network connect": (
        ("A second interface for a running container", "network connect lab web"),
        ("With an address and another name", "network connect --ip 10.9.0.7 --alias db lab web"),
    ),
    "network check": (
        ("Name every difference; silence means all is well", "network check"),
        ("Mend it", "network check --repair"),
    ),
    "volume create": (("With a label", "volume create --label keep=yes data"),),
    "system prune": (("Everything that is not in use, volumes too", "system prune -a --volumes"),),
    "events": (
        ("What happened in the last hour", "events --since 1h --until 0s"),
        ("Containers that end", "events --filter event=die"),
    ),
    "completion": (
        ("In bash, for you", "completion bash > ~/.local/share/bash-completion/completions/netpy"),
        ("In zsh, in a directory of $fpath", "completion zsh > /usr/local/share/zsh/site-functions/_netpy"),
        ("In fish", "completion fish > ~/.config/fish/completions/netpy.fish"),
    ),
    "login": (
        (
            "To a registry of your own, the password from a file",
            "login -u me --password-stdin 127.0.0.1:5000 < password",
        ),
    ),
}


def examples(words: str) -> tuple[tuple[str, str], ...]:
    """Those of a command, called by its words (`network create`, `container run` as `run`)."""
    if words not in EXAMPLES:
        group, _, verb = words.partition(" ")
        aliases = {"image ls": "images", "container ls": "ps", "system events": "events"}
        words = aliases.get(words, verb if group in ("container", "image", "builder") else words)
    return tuple((what, f"netpy {line}") for what, line in EXAMPLES.get(words, ()))

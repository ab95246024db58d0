"""What people have in their notes, line by line as they typed it, through `netpy` and through Docker's own command line.

The lines are run by bash with a `docker` on the path that is the one or the other, and a `sudo` that does nothing.
Images carry the names in the notes, and are made of this machine's programs: no registry but our own is in reach.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import rootfs_with
from tests.e2e.world import HOST_ADDRESS, NETPY, Daemon, eventually, new_world

pytestmark = pytest.mark.root

SERVE = '["sh", "-c", "mkdir -p /w; echo It works > /w/index.html; exec httpd -f -p 80 -h /w"]'
SEARCH = '["sh", "-c", "mkdir -p /w; echo $HOSTNAME > /w/index.html; exec httpd -f -p 9200 -h /w"]'
HELLO = '["echo", "Hello from Docker!"]'
REGISTRY = """version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
log: {level: error}
"""


class Notes:
    """Runs lines of a notebook with one of the command lines."""

    def __init__(self, daemon: Daemon, program: str, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory
        tools = directory / "bin"
        tools.mkdir()
        for name, text in (("docker", f'exec {program} "$@"'), ("sudo", 'exec "$@"')):
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        host = daemon.environment["NETPY_HOST"]
        self._environment = {
            **os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "DOCKER_HOST": host, "NETPY_HOST": host,
            "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(directory / "config"), "HOME": str(directory), "TERM": "xterm",
        }  # fmt: skip

    def run(self, line: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--net={self.daemon.world.host}", "bash", "-c", line], env=self._environment,
            cwd=self.directory, input=stdin, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def __call__(self, line: str, stdin: str = "") -> str:
        """The output of a line that must succeed."""
        done = self.run(line, stdin)
        assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stdout}{done.stderr}{self.daemon.tail()}"
        return done.stdout.rstrip("\n")

    def typed(self, line: str, keys: str) -> str:
        """The same in a terminal, with these keys."""
        return self(f"script -qec '{line}' /dev/null", keys).replace("\r", "")

    def rows(self, line: str) -> list[list[str]]:
        """A table, cut at its columns (two blanks or more); the header first. Empty cells are left out."""
        return [re.split(r"\s{2,}", row.strip()) for row in self(line).splitlines()]

    def knows(self, command: str) -> bool:
        """Whether we have that command; Docker's own command line asks for nothing then that we do not serve."""
        return f"  {command} " in self.daemon("--help")

    def outside(self, url: str) -> str:
        return self.daemon.world.at(self.daemon.world.outside, "curl", "-s", "--max-time", "3", url, check=False).stdout

    def image(self, name: str, command: str, *programs: str, files: dict[str, str] | None = None) -> None:
        source = subprocess.run(
            [NETPY, "import", "-c", f"CMD {command}", "-", name], input=rootfs_with(*programs, files=files), check=False,
            env=self._environment, capture_output=True, timeout=60,
        )  # fmt: skip
        assert source.returncode == 0, source.stderr.decode()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    world = new_world()
    world.at(world.host, "ip", "link", "set", "lo", "up")
    found = Daemon(world, name="notes")
    try:
        found.start()
        found.import_busybox()
        yield found
    finally:
        found.close()
        world.close()
        shutil.rmtree(world.root)


@pytest.fixture(params=["netpy", "docker"])
def notes(request: pytest.FixtureRequest, daemon: Daemon, tmp_path: Path) -> Iterator[Notes]:
    program = NETPY if request.param == "netpy" else shutil.which("docker")
    if program is None:
        pytest.skip("docker's command line is not installed")
    found = Notes(daemon, program, tmp_path)
    yield found
    daemon.clean()
    images = set(daemon("images", "--format", "{{.Repository}}:{{.Tag}}").split()) - {"busybox:latest", "<none>:<none>"}
    if images:
        daemon("rmi", "-f", *sorted(images))
    daemon("image", "prune", "-f")


def test_build_ship_run(notes: Notes) -> None:
    """The first chapter: a container from nothing to gone."""
    notes.image("httpd", SERVE)
    notes.image("nginx", SERVE, "bash")
    assert "Version:" in notes("docker version")
    assert "Server Version:" in notes("docker info") or "Server:" in notes("docker info")
    first = notes("docker run -d -p 8800:80 httpd")
    assert len(first) == 64
    eventually(lambda: "It works" in notes.outside(f"http://{HOST_ADDRESS}:8800/"), "the page")
    header, row = notes.rows("docker ps")
    assert header == [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    name = row[-1]
    assert "0.0.0.0:8800->80/tcp" in row[5]
    assert notes("docker ps -q") == notes("docker container ls -aq") == first[:12]
    assert notes(f"docker container logs {name}") == ""
    assert "httpd -f" in notes(f"docker container top {name}")
    assert json.loads(notes(f"docker container inspect {name}"))[0]["State"]["Running"]
    assert "MEM USAGE / LIMIT" in notes("docker container stats --no-stream")
    assert notes(f"docker container port {name}").splitlines()[0] == "80/tcp -> 0.0.0.0:8800"
    assert notes(f"docker container stop -t 1 {first[:12]}") == first[:12]
    assert notes(f"docker start {name}") == name
    assert notes(f"docker container rm -f {name}") == name
    said = notes.typed("docker container run -it --name proxy nginx bash", "echo in $0\nps | grep -c bash\nexit\n")
    assert "in bash" in said
    assert "again" in notes.typed("docker container start -ai proxy", "echo again\nexit\n")
    notes("docker start proxy")
    assert "4d" in notes.typed("docker container exec -it proxy bash", "echo $((0+4))d\nexit\n")
    assert "gone" in notes.typed("docker container run --rm -it nginx bash", "echo gone\nexit\n")
    assert len(notes("docker ps -aq").split()) == 1


def test_networks(notes: Notes) -> None:
    """Private networks: the three that are there, one of one's own, a second interface, names."""
    notes.image("nginx", SERVE)
    assert {tuple(row[1:]) for row in notes.rows("docker network ls")[1:]} == {
        ("bridge", "bridge", "local"), ("host", "host", "local"), ("none", "null", "local"),
    }  # fmt: skip
    notes("docker run -d --name proxy nginx")
    bridge = json.loads(notes("docker network inspect bridge"))[0]
    assert list(bridge)[:5] == ["Name", "Id", "Created", "Scope", "Driver"]
    assert {"Internal", "Attachable", "Ingress", "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels"} <= set(
        bridge
    )
    assert [each["Name"] for each in bridge["Containers"].values()] == ["proxy"]
    assert bridge["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert bridge["Options"]["com.docker.network.bridge.default_bridge"] == "true"
    assert notes("docker container inspect --format '{{ .NetworkSettings.IPAddress }}' proxy").startswith("172.17.0.")
    assert len(notes("docker network create my_app_net")) == 64
    assert "my_app_net" in notes("docker network ls")
    assert len(notes("docker run -d --name subnet_nginx --network my_app_net nginx")) == 64
    mine = json.loads(notes("docker network inspect my_app_net"))[0]
    assert mine["IPAM"]["Config"] == [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]
    assert (mine["Options"], mine["Labels"]) == ({}, {})
    notes("docker network connect my_app_net proxy")
    attached = json.loads(notes("docker container inspect proxy"))[0]["NetworkSettings"]["Networks"]
    assert set(attached) == {"bridge", "my_app_net"}
    assert attached["bridge"]["IPAddress"] != attached["my_app_net"]["IPAddress"]
    assert "bytes from 172.18." in notes.typed("docker container exec -it proxy ping -c 3 subnet_nginx", "")
    notes("docker network disconnect my_app_net proxy")
    assert "my_app_net" not in notes("docker container inspect proxy")


def test_one_name_for_two(notes: Notes) -> None:
    """The round robin of names; `search` with a plain `--link` at the end."""
    notes.image("elasticsearch:2", SEARCH)
    notes.image("alpine", '["sh"]')
    notes.image("centos", '["sh"]', "curl")
    notes("docker network create dude")
    for _ in range(2):
        notes("docker container run -d --net dude --net-alias search elasticsearch:2")
    listed = notes.rows("docker ps -a")[1:]
    assert [row[1] for row in listed] == ["elasticsearch:2"] * 2
    looked_up = notes("docker container run --rm --net dude alpine nslookup search")
    assert len({line for line in looked_up.splitlines() if "172." in line}) >= 2
    answers = {notes("docker container run --rm --net dude centos curl -s search:9200") for _ in range(8)}
    assert len(answers) == 2
    notes("docker run -d --name db alpine sleep 99")
    assert "db" in notes("docker create --link db:database --name linked alpine ping database && docker inspect linked")


def test_images(notes: Notes) -> None:
    """One id under two tags, history, what is left over, what it takes."""
    for name in ("ubuntu", "mongo"):
        notes.image(name, '["bash"]', "bash", files={"which": name})
    notes("docker image tag mongo postgres:16; docker image tag mongo postgres")
    rows = {tuple(row[:2]): row[2] for row in notes.rows("docker image ls")[1:]}
    assert rows["postgres", "16"] == rows["postgres", "latest"] == rows["mongo", "latest"] != rows["ubuntu", "latest"]
    history = notes("docker image history ubuntu").splitlines()
    assert history[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert "/bin/sh" in notes("docker history ubuntu") or "Imported from" in notes("docker history ubuntu")
    assert json.loads(notes("docker image inspect ubuntu"))[0]["Architecture"]
    assert "Total reclaimed space:" in notes("docker image prune -f")
    if "prune" in notes.daemon("system", "--help"):
        assert "Total reclaimed space:" in notes("docker system prune -f")
    assert "RECLAIMABLE" in notes("docker system df")
    notes("docker image save ubuntu:latest -o xxx.image; docker rmi ubuntu")
    assert "ubuntu:latest" in notes("docker image load -i xxx.image")
    notes("docker image tag ubuntu team/ubuntu:v1; docker images -q | sort -u >ids")
    assert notes("docker image rm team/ubuntu:v1") == "Untagged: team/ubuntu:v1"
    notes("docker run --name jovial_noether ubuntu -c 'exit 3' || docker run --name left ubuntu bash -c 'echo > /vim'")
    notes("docker rm jovial_noether")
    if notes.knows("commit"):
        _commit(notes)
    notes("docker rm left; docker rmi -f mongo postgres:16 postgres")
    assert "postgres" not in notes("docker images")


def _commit(notes: Notes) -> None:
    notes("docker commit left joker/ubuntu:vim")
    assert "/vim" in notes("docker run --rm joker/ubuntu:vim ls /vim")
    assert notes("docker container commit left joker/ubuntu:2").startswith("sha256:")


def test_many_at_once(notes: Notes) -> None:
    """Stop all, remove all, remove what has exited, and attach, which ends with the container."""
    notes.image("nginx", SERVE)
    notes("docker container run -d --publish 80:80 --name webhost nginx")
    eventually(lambda: "It works" in notes.outside(f"http://{HOST_ADDRESS}/"), "the page")
    notes("docker run -d --stop-signal KILL nginx; docker run nginx true")
    assert len(notes("docker container ps -aq").split()) == 3
    notes("docker container rm $(docker container ls -f 'status=exited' -q)")
    assert len(notes("docker container ps -aq").split()) == 2
    assert notes("(sleep 0.5; docker kill webhost >/dev/null) & docker attach webhost; echo $?") == "137"
    notes("docker start webhost; docker container stop -t 0 $(docker container ps -aq)")
    assert notes("docker ps -q") == ""
    notes("docker container rm $(docker container ps -aq)")
    notes("docker run -d nginx")
    notes("docker container rm -f $(docker ps -aq)")
    assert notes("docker ps -aq") == ""


def test_hello_world(notes: Notes) -> None:
    """Create, start, logs, start attached, and all of that by run; help at three depths."""
    notes.image("hello-world:linux", HELLO)
    for line in ("docker --help", "docker network --help", "docker network create --help"):
        assert "Usage:" in notes(line)
    made = notes("sudo docker container create hello-world:linux")
    assert notes.rows("sudo docker ps --all")[1][4:5] == ["Created"]
    short = made[:14]
    assert notes(f"sudo docker start {short}") == short
    notes(f"docker wait {short}")
    assert "Exited (0)" in notes("sudo docker ps --all")
    assert notes(f"sudo docker logs {made[:12]}") == "Hello from Docker!"
    assert notes(f"sudo docker container start --attach {made[:12]}") == "Hello from Docker!"
    assert notes("sudo docker run hello-world:linux") == "Hello from Docker!"
    assert len(notes("sudo docker ps -aq | xargs sudo docker rm").split()) == 2
    assert len(notes("sudo docker ps -a").splitlines()) == 1
    assert "hello-world:linux" in notes("sudo docker rmi -f hello-world:linux")


def test_files_of_the_host(notes: Notes) -> None:
    """What is written in a container stays there; what is written to a mounted directory does not."""
    notes.image("ubuntu", '["bash"]', "bash")
    notes.image("nginx", '["sh", "-c", "exec httpd -f -p 80 -h /usr/share/nginx/html"]')
    line = "sudo docker run --rm --entrypoint sh {} ubuntu -c \"echo 'hello world' > /tmp/file && cat /tmp/file\""
    assert notes(line.format("")) == "hello world"
    assert notes.run("ls $PWD/container/file").returncode != 0
    assert notes(line.format('-v "$PWD/container:/tmp"')) == "hello world"
    assert notes("cat container/file") == "hello world"
    notes("mkdir website; echo page > website/index.html")
    notes('sudo docker run -d --name website -v "$PWD/website:/usr/share/nginx/html" -p 8080:80 --rm nginx')
    eventually(lambda: notes.outside(f"http://{HOST_ADDRESS}:8080/") == "page\n", "the page")


def test_a_server_of_ones_own(notes: Notes) -> None:
    """In the background, a command in it, a shell in it, killed and stopped."""
    server = "#!/usr/bin/env bash\necho Server started. Press CTRL-C to stop...\nwhile true; do sleep 10; done\n"
    notes.image("my-server-image", '["bash", "/server.bash"]', "bash", files={"server.bash": server})
    first, second = (notes("sudo docker run -d my-server-image") for _ in range(2))
    assert "UTC" in notes(f"sudo docker exec {first[:12]} date")
    shell = notes.typed(f"sudo docker exec --interactive --tty {first[:12]} bash", "ls /\nexit\n")
    assert "server.bash" in shell
    eventually(lambda: "Server started" in notes(f"docker logs {first}"), "its first words")
    assert notes(f"sudo docker kill {second[:12]}") == second[:12]
    assert notes("sudo docker ps -q").split() == [first[:12]]
    assert notes(f"sudo docker stop -t 0 {first[:12]}") == first[:12]
    assert "Exited (137)" in notes("sudo docker ps -a")
    assert notes(f"sudo docker rm -f {first[:12]}") == first[:12]


def test_a_registry_of_ones_own(notes: Notes) -> None:
    """`registry:2` in a container, a push to it, its catalogue, and the image back from it."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    command = '["docker-registry", "serve", "/etc/registry.yml"]'
    notes.image("registry:2", command, "docker-registry", files={"etc/registry.yml": REGISTRY})
    notes.image("hello", HELLO)
    notes("docker run -d -p 5000:5000 --restart always --name registry registry:2")
    assert "registry:2" in notes("docker ps")
    catalogue = "curl -s --max-time 3 http://127.0.0.1:5000/v2/_catalog"
    eventually(lambda: notes.run(catalogue).stdout, "the registry answers")
    notes("docker tag hello 127.0.0.1:5000/hello")
    assert "digest: sha256:" in notes("docker push 127.0.0.1:5000/hello:latest")
    found: Any = json.loads(notes(catalogue))
    assert found == {"repositories": ["hello"]}
    notes("docker rmi hello 127.0.0.1:5000/hello")
    assert "Downloaded newer image" in notes("docker image pull 127.0.0.1:5000/hello")
    assert notes("docker run --rm 127.0.0.1:5000/hello") == "Hello from Docker!"


DOCKERFILES = {
    "Dockerfile": """
FROM scratch
ADD hello /
CMD ["./hello"]
""",
    "first.Dockerfile": """
FROM ubuntu

LABEL maintainer="morrism"

USER root

COPY ./entrypoint.bash /

RUN chmod 755 /entrypoint.bash

USER nobody

ENTRYPOINT [ "/entrypoint.bash" ]
""",
    "stages.Dockerfile": """
FROM gcc:9.4 AS builder
COPY hello.c /src/hello.c
WORKDIR /src
RUN cp hello.c hello && chmod 755 hello

FROM alpine:3.13.5
COPY --from=builder /src/hello /src/hello
ENTRYPOINT ["/src/hello"]
CMD []
""",
    "all.Dockerfile": """
FROM centos
LABEL maintainer='xxx'
RUN echo vim > /vim
CMD ["/bin/echo","hello"]
ENTRYPOINT ["/bin/echo"]
WORKDIR /root
WORKDIR demo
RUN pwd > /where
ADD hello /root/
ADD xx.tar.gz /
ENV MYSQ 5.6
VOLUME /data
EXPOSE 80
""",
}


def test_dockerfiles(notes: Notes) -> None:
    """Those of the notes; where they fetch packages, a copy stands in for that."""
    if not notes.knows("build"):
        pytest.skip("there is no builder yet")
    for name in ("ubuntu", "centos", "gcc:9.4", "alpine:3.13.5"):
        notes.image(name, '["sh"]', "bash", "env")
    for name, text in DOCKERFILES.items():
        (notes.directory / name).write_text(text)
    notes("cp /sbin/ldconfig hello; mkdir usr; ln -s ../bin/env usr/e; tar czf xx.tar.gz usr")
    (notes.directory / "hello.c").write_text("#!/bin/sh\necho built $*\n")
    (notes.directory / "entrypoint.bash").write_text('#!/bin/bash\n\necho "The current time is ${date}"\n')
    assert "Successfully tagged jokerl/hello:latest" in notes("docker build -t jokerl/hello .")
    assert "ldconfig" in notes(
        "docker run --rm jokerl/hello ./hello --version"
    )  # the one static program of every Debian
    notes("docker build -f first.Dockerfile -t my-first-image .")
    assert notes("sudo docker run --rm my-first-image") == "The current time is "
    notes("docker image build -f stages.Dockerfile -t hello .")
    assert notes("docker container run --rm hello xxx.yaml") == "built xxx.yaml"
    notes("docker build -f all.Dockerfile -t all .")
    assert notes("docker run --rm --entrypoint sh all -c 'cat /where; ls /usr/e; echo $MYSQ'").split() == [
        "/root/demo", "/usr/e", "5.6",
    ]  # fmt: skip
    identifier = notes("docker images -q jokerl/hello")
    assert "ADD" in notes(f"docker history {identifier}")
    assert "ubuntu" in notes("docker images")

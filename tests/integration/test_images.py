"""Images on a real disk: imported, loaded, saved, named, removed. Pulling has a file of its own."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from engine.images import Images
from netpy.errors import Conflict, InvalidArgument, NotFound
from netpy.store import Store
from tests.integration import image_lab as lab

pytestmark = pytest.mark.root


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images", Store(tmp_path / "db"))


@pytest.fixture
def rootfs() -> bytes:
    """The smallest root file system that runs: busybox-static."""
    busybox = Path("/bin/busybox").read_bytes()
    return lab.tar(
        lab.entry("bin", tarfile.DIRTYPE),
        lab.entry("bin/busybox", data=busybox, mode=0o755),
        lab.entry("bin/sh", tarfile.SYMTYPE, linkname="busybox"),
        lab.entry("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n"),
    )


def left_over(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "images" / "tmp").iterdir())


def loaded(images: Images, archive: bytes) -> list[dict[str, Any]]:
    return list(images.load(io.BytesIO(archive)))


def test_an_imported_rootfs_is_an_image(images: Images, rootfs: bytes, tmp_path: Path) -> None:
    id = images.import_rootfs(io.BytesIO(rootfs), reference="bb:1", message="mine", changes=['CMD ["sh"]', "ENV A=1"])
    record = images.resolve("bb:1")
    assert (record.id, record.tags, record.config["config"]["Cmd"]) == (id, ("bb:1",), ["sh"])
    document = images.inspect(id[7:19])
    assert (document["Comment"], document["Config"]["Env"]) == ("mine", ["A=1"])
    assert document["RootFS"]["Layers"] == [lab.digest(rootfs)]
    (lower,) = images.layers(id)
    assert str(lower) == document["GraphDriver"]["Data"]["UpperDir"]
    assert subprocess.run(["chroot", str(lower), "/bin/sh", "-c", "echo hi"], capture_output=True).stdout == b"hi\n"
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o700
    assert not left_over(tmp_path)


def test_what_is_saved_is_read_by_others_and_comes_back_the_same(images: Images, rootfs: bytes, tmp_path: Path) -> None:
    id = images.import_rootfs(io.BytesIO(rootfs), reference="127.0.0.1:5000/team/app:v1", changes=["LABEL a=b"])
    images.tag(id, "other:2")
    archive = tmp_path / "saved.tar"
    archive.write_bytes(b"".join(images.save(["127.0.0.1:5000/team/app", "other:2"])))
    for transport in (f"docker-archive:{archive}:other:2", f"oci-archive:{archive}:other:2"):
        command = ["skopeo", "inspect", "--config", "--raw", transport]
        assert lab.digest(subprocess.run(command, check=True, capture_output=True).stdout) == id
        copy = ["skopeo", "copy", "-q", transport, f"dir:{tmp_path / transport[:3]}"]
        subprocess.run(copy, check=True, capture_output=True)  # It compares every digest.
    fresh = Images(tmp_path / "fresh", Store(":memory:"))
    streams = [line["stream"] for line in loaded(fresh, archive.read_bytes()) if "stream" in line]
    assert sorted(streams) == ["Loaded image: 127.0.0.1:5000/team/app:v1\n", "Loaded image: other:2\n"]
    assert fresh.resolve("other:2").id == id
    assert fresh.resolve(id[7:17]).tags == images.resolve(id).tags
    assert lab.tree(fresh.layers(id)[0]) == lab.tree(images.layers(id)[0])


@pytest.mark.parametrize("outer", ["plain", "gzip"])
@pytest.mark.parametrize("format", ["oci-archive", "docker-archive"])
def test_archives_of_skopeo_are_loaded(images: Images, rootfs: bytes, tmp_path: Path, format: str, outer: str) -> None:
    id = images.import_rootfs(io.BytesIO(rootfs), reference="app:1")
    (tmp_path / "in.tar").write_bytes(b"".join(images.save(["app:1"])))
    target = f"{format}:{tmp_path / 'out.tar'}:moved:2"
    subprocess.run(["skopeo", "copy", "-q", f"docker-archive:{tmp_path / 'in.tar'}", target], check=True)
    data = (tmp_path / "out.tar").read_bytes()
    fresh = Images(tmp_path / "fresh", Store(":memory:"))
    lines = loaded(fresh, gzip.compress(data, 1) if outer == "gzip" else data)
    assert {"stream": "Loaded image: moved:2\n"} in lines
    found = fresh.resolve("moved:2")
    assert found.layers == (lab.digest(rootfs),)
    # skopeo rewrites the configuration for OCI, and with it the id, which we must not touch again.
    assert (found.id == id) is (format == "docker-archive")


def test_an_old_archive_with_links_between_layers_is_loaded(images: Images) -> None:
    one, two = lab.tar(lab.entry("one", data=b"1")), lab.tar(lab.entry("two", data=b"2"))
    config = lab.config(one, two, one)
    manifest = [{"Config": "c.json", "RepoTags": ["old:1"], "Layers": ["x/layer.tar", "y/layer.tar", "z/layer.tar"]}]
    archive = lab.tar(
        lab.entry("z/layer.tar", tarfile.SYMTYPE, linkname="../x/layer.tar"),
        lab.entry("x/layer.tar", data=one),
        lab.entry("y/layer.tar", data=two),
        lab.entry("c.json", data=config),
        lab.entry("manifest.json", data=json.dumps(manifest).encode()),
    )
    lines = loaded(images, archive)
    assert lines[-1] == {"stream": "Loaded image: old:1\n"}
    top, middle, bottom = images.layers(lab.digest(config))
    assert top == bottom != middle
    assert [row["Size"] for row in images.history("old:1")] == [1, 1, 1]


def test_the_platform_of_this_machine_is_chosen_from_a_nested_index(images: Images) -> None:
    import os

    layer = lab.tar(lab.entry("f", data=b"f"))
    mine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    files: list[tuple[tarfile.TarInfo, bytes]] = []
    listed: list[dict[str, Any]] = []
    for architecture in ("s390x", mine):
        descriptor, entries = lab.oci_image(
            lab.config(layer, architecture=architecture), layer, platform={"os": "linux", "architecture": architecture}
        )
        listed.append(descriptor)
        files += entries
    index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    top, nested = lab.oci_blob("application/vnd.oci.image.index.v1+json", index)
    top["annotations"] = {"org.opencontainers.image.ref.name": "multi:1"}
    root = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
    loaded(images, lab.tar(*files, nested, lab.entry("index.json", data=root)))
    assert images.inspect("multi:1")["Architecture"] == mine


def test_lying_archives_are_refused_and_leave_nothing(images: Images, tmp_path: Path) -> None:
    layer, other = lab.tar(lab.entry("f", data=b"f")), lab.tar(lab.entry("g", data=b"g"))
    cases = {
        "is damaged": lab.docker_archive(lab.config(layer), {"l/layer.tar": other}, ["x:1"]),
        "count layers differently": lab.docker_archive(lab.config(layer, layer), {"l/layer.tar": layer}, ["x:1"]),
        "has no layer l/layer.tar": lab.tar(
            lab.entry("config.json", data=lab.config(layer)),
            lab.entry("manifest.json", data=b'[{"Config": "config.json", "Layers": ["l/layer.tar"]}]'),
        ),
        "neither manifest.json nor index.json": lab.tar(lab.entry("f", data=b"f")),
        "must be lowercase": lab.docker_archive(lab.config(layer), {"l/layer.tar": layer}, ["X:1"]),
        "cannot be used on this platform": lab.docker_archive(
            lab.config(layer, os="windows"), {"l/layer.tar": layer}, ["x:1"]
        ),
        "not valid JSON": lab.tar(lab.entry("manifest.json", data=b"[{")),
        "reading the image archive": b"garbage" * 1000,
    }
    for message, archive in cases.items():
        with pytest.raises(InvalidArgument, match=message):
            loaded(images, archive)
    assert images.summaries() == []
    assert not left_over(tmp_path)
    assert not list((tmp_path / "images" / "layers").iterdir())


def test_layers_are_shared_and_go_with_their_last_image(images: Images, tmp_path: Path) -> None:
    base, top = lab.tar(lab.entry("base", data=b"b" * 1000)), lab.tar(lab.entry("top", data=b"t" * 10))
    loaded(images, lab.docker_archive(lab.config(base), {"a/layer.tar": base}, ["base:1"]))
    lines = loaded(
        images, lab.docker_archive(lab.config(base, top), {"a/layer.tar": base, "b/layer.tar": top}, ["app:1"])
    )
    assert lines[-1] == {"stream": "Loaded image: app:1\n"}
    assert images.disk_usage() == 1010
    assert images.layers(images.resolve("app:1").id)[1] == images.layers(images.resolve("base:1").id)[0]
    rows = images.remove("app:1")
    assert [list(row) for row in rows] == [["Untagged"], ["Deleted"], ["Deleted"]]
    assert images.layers(images.resolve("base:1").id)[0].is_dir()
    images.remove("base:1")
    assert not list((tmp_path / "images" / "layers").iterdir())


def test_a_tag_moves_and_the_old_image_dangles(images: Images) -> None:
    old = images.import_rootfs(io.BytesIO(lab.tar(lab.entry("old"))), reference="app")
    new = images.import_rootfs(io.BytesIO(lab.tar(lab.entry("new"))), reference="app")
    assert images.resolve("app").id == new
    assert [item["Id"] for item in images.summaries(filters={"dangling": ["true"]})] == [old]
    assert images.prune()["ImagesDeleted"][0] == {"Deleted": old}
    assert [item["RepoTags"] for item in images.summaries()] == [["app:latest"]]


def test_loading_over_a_name_says_so(images: Images) -> None:
    old = images.import_rootfs(io.BytesIO(lab.tar(lab.entry("old"))), reference="app:1")
    layer = lab.tar(lab.entry("new"))
    lines = loaded(images, lab.docker_archive(lab.config(layer), {"l/layer.tar": layer}, ["app:1"]))
    said = f"The image app:1 already exists, renaming the old one with ID {old} to empty string\n"
    assert {"stream": said} in lines


def test_an_image_in_use_is_removed_only_by_force_and_its_layers_stay(images: Images, tmp_path: Path) -> None:
    id = images.import_rootfs(io.BytesIO(lab.tar(lab.entry("f", data=b"f"))), reference="app")
    users = ["c" * 64]

    def used_by(image: str) -> list[str]:
        return users if image == id else []

    with pytest.raises(Conflict, match=r'remove repository reference "app" \(must force\) - container cccccccccccc is'):
        images.remove("app", used_by=used_by, running=lambda _: False)
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container cccccccccccc"):
        images.remove(id, force=True, used_by=used_by)
    rows = images.remove("app", force=True, used_by=used_by, running=lambda _: False)
    assert rows == [{"Untagged": "app:latest"}, {"Deleted": id}]
    assert images.summaries(all=True) == []
    with pytest.raises(NotFound):
        images.resolve(id)
    assert (images.layers(id)[0] / "f").read_bytes() == b"f"
    users.clear()
    images.prune(used_by=used_by)
    assert not list((tmp_path / "images" / "layers").iterdir())
    with pytest.raises(NotFound):
        images.layers(id)


def test_a_restart_keeps_the_images_and_removes_what_a_crash_left(rootfs: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    id = Images(tmp_path / "images", store).import_rootfs(io.BytesIO(rootfs), reference="app")
    orphan = tmp_path / "images" / "layers" / ("0" * 64)
    (orphan / "diff").mkdir(parents=True)
    (tmp_path / "images" / "tmp" / "layer-half" / "diff").mkdir(parents=True)
    again = Images(tmp_path / "images", store)
    assert again.resolve("app").id == id
    assert (again.layers(id)[0] / "bin" / "busybox").is_file()
    assert not orphan.exists()
    assert not left_over(tmp_path)


def test_an_interrupted_upload_leaves_nothing(images: Images, tmp_path: Path) -> None:
    class Broken:
        def __init__(self) -> None:
            self.first = True

        def read(self, size: int, /) -> bytes:
            if not self.first:
                raise ConnectionResetError("the client has gone")
            self.first = False
            return bytes(size)

    with pytest.raises(ConnectionResetError):
        images.import_rootfs(Broken())
    assert not left_over(tmp_path)


def test_a_layer_changed_on_disk_is_not_passed_on(images: Images, rootfs: bytes) -> None:
    from netpy.errors import KernelError

    id = images.import_rootfs(io.BytesIO(rootfs), reference="app")
    (images.layers(id)[0] / "etc" / "passwd").write_bytes(b"evil:x:0:0::/root:/bin/sh\n")
    with pytest.raises(KernelError, match="was changed on disk"):
        list(images.save(["app"]))

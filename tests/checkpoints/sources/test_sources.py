"""Sources that are not the web: the right file, or a clear error."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings

import fsspec
import pytest
import server as http
import torch
from fetched import DATA, DIGEST, HALF, assert_clean, contents, index_of, refused

from initcfg._checkpoints.sources import Located, cache, locate, register, schemes
from initcfg._checkpoints.sources.address import file_name, identity, scrubbed, shown
from initcfg._checkpoints.sources.digests import named_digest
from initcfg.errors import CheckpointError, CheckpointNotFoundError

pytestmark = pytest.mark.usefixtures("home")


# -- here ------------------------------------------------------------------------------------------


def test_paths(tmp_path, monkeypatch):
    (tmp_path / "net 1.pth").write_bytes(DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (
        "net 1.pth",
        tmp_path / "net 1.pth",
        "~/net 1.pth",
        f"file://{tmp_path}/net 1.pth",
        f"file://{tmp_path}/net%201.pth",
        f"file://localhost{tmp_path}/net%201.pth",
    ):
        assert contents(locate(source)) == DATA
        assert locate(source, sha256=DIGEST).sha256 == DIGEST
    error = refused("nett1.pth")
    assert isinstance(error, CheckpointNotFoundError) and error.meant == ("net 1.pth",)
    assert refused("torchvision:resnet50").meant == ("torchvision://resnet50",)
    assert "not what sha256= says" in str(refused("net 1.pth", sha256="0" * 64))
    for empty in ("", " "):
        assert "names no checkpoint" in str(refused(empty))
    assert "64 hexadecimal digits" in str(refused("net 1.pth", sha256="12"))


def test_the_name_of_a_local_file_is_taken_at_its_word(tmp_path):
    right = tmp_path / f"net-{DIGEST[:8]}.pth"
    right.write_bytes(DATA)
    assert locate(right).sha256 == DIGEST
    right.write_bytes(DATA[:50] + bytes([DATA[50] ^ 4]) + DATA[51:])
    error = refused(right)
    assert "not what its name says" in str(error) and "rename" in str(error.fix)
    date = tmp_path / "net-20240131.pth"
    date.write_bytes(DATA)
    assert locate(date).sha256 is None


def test_folders(tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "a.pth").write_bytes(DATA)
    assert refused(folder).meant == (str(folder / "a.pth"),)
    (folder / "pytorch_model.bin").write_bytes(DATA)
    assert locate(folder).path == folder / "pytorch_model.bin"
    for name in ("pytorch_model.bin.index.json", "model.safetensors", ".metadata"):
        (folder / name).write_bytes(DATA)
        assert locate(folder).path == folder
    assert "is a folder" in str(refused(folder, sha256=DIGEST))


def test_state_dicts_in_code():
    state = {"weight": torch.ones(2)}
    module = torch.nn.Linear(2, 3)
    assert locate(state).memory is state and locate(state).path is None
    assert locate(lambda: state).memory is state
    assert set(locate(module).memory) == set(locate(lambda: module).memory) == {"weight", "bias"}
    assert "1 tensor" in locate(state).origin and "Linear" in locate(module).origin

    def broken():
        raise OSError("no disk")

    assert "OSError: no disk" in str(refused(broken))
    assert "a int, not a state_dict" in str(refused(lambda: 3))
    assert "a list, not a state_dict" in str(refused([1]))
    assert locate({1: torch.ones(1)}).memory == {1: torch.ones(1)}
    assert "given in code" in str(refused(state, sha256=DIGEST))


# -- schemes ---------------------------------------------------------------------------------------


def test_unknown_schemes():
    assert "torchvision://" in refused("torchvison://resnet50").meant
    assert "initcfg.sources" in str(refused("nonsense://a"))


@pytest.fixture
def clean_schemes(monkeypatch):
    monkeypatch.setattr(schemes, "_registered", {})


def test_registered_schemes(clean_schemes, tmp_path):
    def shelf(source, *, sha256, offline):
        return Located(tmp_path, None, f"{source} {sha256} {offline}", None)

    register("Shelf", shelf)
    register("shelf", shelf)
    assert locate("SHELF://a", sha256=DIGEST, offline=True).origin == f"SHELF://a {DIGEST} True"
    for taken in ("shelf", "https", "hf"):
        with pytest.raises(CheckpointError, match="taken"):
            register(taken, lambda source, *, sha256, offline: shelf(source, sha256=None, offline=None))
    with pytest.raises(CheckpointError, match="cannot be a scheme"):
        register("a b", shelf)


def test_schemes_of_other_packages(tmp_path, monkeypatch):
    package = tmp_path / "shelf_plugin-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf-plugin\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[initcfg.sources]\nshelf = shelf_plugin:find\nbroken = shelf_plugin:none\nbad = shelf_plugin:bad\n"
        "wrong = shelf_plugin:wrong\nhttps = shelf_plugin:wrong\n"
    )
    (tmp_path / "shelf_plugin.py").write_text(
        "from pathlib import Path\nfrom initcfg._checkpoints.sources import Located\n"
        "def find(source, *, sha256, offline): return Located(Path(__file__), None, source, None)\n"
        "def bad(source, *, sha256, offline): raise KeyError('no shelf')\n"
        "def wrong(source, *, sha256, offline): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert contents(locate("shelf://a")) == (tmp_path / "shelf_plugin.py").read_bytes()
    assert "cannot be imported" in str(refused("broken://a"))
    assert "KeyError: 'no shelf'" in str(refused("bad://a"))
    assert "not a Located" in str(refused("wrong://a"))
    # What is built in cannot be taken over by installing something.
    assert "no connection" in str(refused("https://127.0.0.1:1/a.pth"))


def test_what_is_not_installed_is_said(monkeypatch, home):
    for module in ("torchvision", "torchvision.models", "timm", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "mmengine", raising=False)
    monkeypatch.delitem(sys.modules, "mmcv", raising=False)
    for source, extra in {
        "torchvision://resnet50": "torchvision",
        "timm://resnet18": "timm",
        "hf://owner/net": "hf",
        "open-mmlab://resnet50_v1c": "mm",
        "mmcls://vgg11": "mm",
    }.items():
        assert f"initcfg[{extra}]" in str(refused(source).fix)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "s3fs" in str(refused("s3://bucket/net.pth"))


# -- OpenMMLab's names, by tables that the test writes ---------------------------------------------


@pytest.fixture
def tables(tmp_path, monkeypatch, server):
    """A stand-in for the package: its tables, and code that must not run."""
    hub = tmp_path / "site" / "mmengine" / "hub"
    hub.mkdir(parents=True)
    (hub.parent / "__init__.py").write_text("raise SystemError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "mmengine", raising=False)
    url = server.add(f"/net-{DIGEST[:8]}.pth", DATA)
    (hub / "openmmlab.json").write_text(json.dumps({"net": url, "jhu/net_gn": url, "new": url}))
    (hub / "deprecated.json").write_text(json.dumps({"old": "new"}))
    (hub / "mmcls.json").write_text(json.dumps({"vgg": url}))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "mm"))
    return url


def test_names_of_openmmlab(tables, tmp_path):
    for source in ("open-mmlab://net", "openmmlab://net", "jhu://net_gn", "open-mmlab://jhu/net_gn"):
        located = locate(source)
        assert located.origin == tables and located.sha256 == DIGEST and located.prefix is None
    assert locate("mmcls://vgg").prefix == "backbone."
    with pytest.warns(UserWarning, match="new name: open-mmlab://new"):
        assert contents(locate("open-mmlab://old")) == DATA
    assert refused("open-mmlab://nett").meant == ("open-mmlab://net", "open-mmlab://new")[:1]
    assert refused("jhu://net").meant == ("jhu://net_gn",)
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "open_mmlab.json").write_text(json.dumps({"mine": "mine.pth"}))
    (tmp_path / "mm" / "mine.pth").write_bytes(DATA)
    assert locate("open-mmlab://mine").path == tmp_path / "mm" / "mine.pth"


# -- fsspec ----------------------------------------------------------------------------------------


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_fsspec(memory, home, monkeypatch):
    memory.pipe("/Box/net.pth", DATA)
    located = locate("memory://Box/net.pth", sha256=DIGEST)
    assert contents(located) == DATA and located.sha256 == DIGEST
    # The folder of another case is another one.
    memory.pipe("/box/net.pth", DATA[::-1])
    assert contents(locate("memory://box/net.pth")) == DATA[::-1]
    assert locate("memory://Box/net.pth").path == located.path
    memory.pipe("/Box/net.pth", DATA + b"1")
    assert contents(locate("memory://Box/net.pth")) == DATA + b"1"
    assert refused("memory://Box/nett.pth").meant == ("memory://Box/net.pth",)
    assert "not what sha256= says" in str(refused("memory://box/net.pth", sha256="0" * 64))
    memory.pipe("/Box/none.pth", b"")
    assert "empty" in str(refused("memory://Box/none.pth"))
    assert_clean(home)


def test_fsspec_reads_a_file_once(memory, monkeypatch):
    memory.pipe("/net.pth", DATA)
    opened = []
    real = type(memory).open
    monkeypatch.setattr(
        type(memory), "open", lambda self, *args, **kw: opened.append(args) or real(self, *args, **kw)
    )
    assert locate("memory://net.pth") == locate("memory://net.pth")
    assert len(opened) == 1


def test_fsspec_that_fails(memory, home, monkeypatch):
    memory.pipe("/net.pth", DATA)
    first = locate("memory://net.pth")

    def broken(self, *args, **options):
        raise ConnectionError("no route with password hunter22")

    monkeypatch.setattr(type(memory), "info", broken)
    with pytest.warns(UserWarning, match="in the cache is used"):
        assert locate("memory://net.pth") == first
    error = refused("memory://u:hunter22@other.pth")
    assert "no route" in str(error) and "hunter22" not in str(error)
    assert_clean(home)


def test_fsspec_and_a_full_disk(memory, home, monkeypatch):
    memory.pipe("/net.pth", DATA)

    def full(file, block):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache, "write", full)
        assert "no room left" in str(refused("memory://net.pth"))
    assert_clean(home)
    assert contents(locate("memory://net.pth")) == DATA


def test_fsspec_chains_and_local_files(memory, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "box.zip", "w") as archive:
        archive.writestr("net.pth", DATA)
    assert contents(locate(f"zip://net.pth::file://{tmp_path}/box.zip", offline=True)) == DATA
    assert locate(f"local://{tmp_path}/box.zip").path == tmp_path / "box.zip"


def test_fsspec_folders(memory, home):
    memory.pipe("/dcp/.metadata", b"meta")
    memory.pipe("/dcp/__0_0.distcp", DATA)
    located = locate("memory://dcp")
    assert sorted(os.listdir(located.path)) == [".metadata", "__0_0.distcp"]
    memory.pipe("/hf/model.safetensors.index.json", index_of("a.safetensors", "b.safetensors"))
    memory.pipe("/hf/a.safetensors", DATA)
    memory.pipe("/hf/b.safetensors", DATA + b"2")
    assert sorted(os.listdir(locate("memory://hf").path))[0] == "a.safetensors"
    memory.pipe("/one/model.safetensors", DATA)
    assert contents(locate("memory://one/")) == DATA
    memory.pipe("/none/readme.md", DATA)
    assert "holds no checkpoint" in str(refused("memory://none"))
    assert "is a folder" in str(refused("memory://dcp", sha256=DIGEST))
    assert_clean(home)


# -- small things ----------------------------------------------------------------------------------


SIGNED = {
    "AWS": "X-Amz-Algorithm=A&X-Amz-Credential=me&X-Amz-Date=1&X-Amz-Expires=9&X-Amz-SignedHeaders=host"
    "&X-Amz-Security-Token=t&X-Amz-Signature=ab",
    "AWS before": "AWSAccessKeyId=me&Signature=ab&Expires=9",
    "Google": "X-Goog-Algorithm=A&X-Goog-Credential=me&X-Goog-Date=1&X-Goog-Expires=9"
    "&X-Goog-SignedHeaders=host&X-Goog-Signature=ab",
    "Google before": "GoogleAccessId=me&Signature=ab&Expires=9",
    "Azure": "sv=2022&ss=b&srt=o&sr=b&sp=r&st=1&se=9&sip=1&spr=https&sig=ab%3D",
    "CloudFront": "Expires=9&Signature=ab&Key-Pair-Id=K",
    "CloudFront, policy": "Policy=p&Signature=ab&Key-Pair-Id=K",
}


@pytest.mark.parametrize("signer", SIGNED)
def test_a_signature_is_not_part_of_an_address(signer):
    assert identity(f"https://a.org/x?id=3&{SIGNED[signer]}") == "https://a.org/x?id=3"
    assert identity(f"https://a.org/x?{SIGNED[signer]}&versionId=3") == "https://a.org/x?versionId=3"
    assert identity(f"https://a.org/x?{SIGNED[signer]}") == "https://a.org/x"
    # Without the signature itself, they may mean anything.
    rest = "&".join(each for each in SIGNED[signer].split("&") if "sig" not in each.lower().split("=")[0])
    assert identity(f"https://a.org/x?{rest}") == f"https://a.org/x?{rest}"


PLAIN = """
key=1 author=1 token=1 tokenizer=1 se=1 sp=1 sr=1 policy=1 Expires=1 Signature=1 auth=1 secret=1 api_key=1
sv=1 x-ms-version=1 X-Amz-Date=1 x-oss-process=1 sig2=1 Key-Pair-Id=1 a&b a=&b=2 %6bey=1 a=%FF a=%FE a=1&a=2
"""


@pytest.mark.parametrize("query", PLAIN.split())
def test_everything_else_is(query):
    assert identity(f"https://a.org/x?{query}") == f"https://a.org/x?{query}"


def test_addresses_of_two_files_are_two():
    different = [
        "https://a.org/x",
        "https://a.org/X",
        "https://a.org/x?a=1&b=2",
        "https://a.org/x?b=2&a=1",
        "https://a.org/x?a",
        "https://a.org/x?a=",
        "https://a.org/%78",
        "http://a.org/x",
        "https://a.org:8443/x",
        "https://alice:1@a.org/x",
        "https://bob:1@a.org/x",
    ]
    assert len({identity(each) for each in different}) == len(different)
    # The password of today is not that of tomorrow.
    assert identity("https://alice:2@A.org/x") == identity("https://alice:1@a.org/x#part")


def test_addresses():
    assert shown("s3://bucket/a#b") == "s3://bucket/a"
    assert identity("http://A.org/X?b=1#c") == identity("HTTP://a.org/X?b=1")
    assert identity("http://a.org/X?b=1") != identity("http://a.org/X?b=2")
    assert identity("memory://A/x") != identity("memory://a/x")
    assert "p%40ss" not in scrubbed("failed: p@ss p%40ss", "ftp://u:p%40ss@h/a")
    assert "p@ss" not in scrubbed("failed: p@ss", "ftp://u:p%40ss@h/a")
    assert file_name("https://a.org/") == "checkpoint"
    assert file_name("https://a.org/..%2f..%2fetc%2fpasswd") == "etc_passwd"
    assert file_name("https://a.org/" + "x" * 300 + ".pth").endswith("x.pth")


def test_digests_in_names():
    assert named_digest("shufflenetv2_x0.5-f707e7126e.pth") == "f707e7126e"
    assert named_digest("vgg11_batch256_imagenet_20210208-4271cd6c.pth") == "4271cd6c"
    assert named_digest("net-0123abcd.pth.tar") == "0123abcd"
    for name in ("net-20240131.pth", "net-20240131235959.pth", "model-00001-of-00002.safetensors", "net.pth"):
        assert named_digest(name) is None


def test_a_bar_is_shown_on_a_terminal_alone(server, capfd, monkeypatch):
    monkeypatch.setattr("initcfg._checkpoints.sources.progress._SMALL", 1)
    locate(server.add("/net.pth", DATA))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    url = server.add("/net2.pth", DATA, script=[http.cut(HALF)])
    with warnings.catch_warnings():
        assert contents(locate(url)) == DATA
    assert "net2.pth" in capfd.readouterr().err

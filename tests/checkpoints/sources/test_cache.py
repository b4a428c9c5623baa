"""Without the network, and what is kept: the right file, or a clear error; never a corrupt cache."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import server as http
from fetched import DATA, DIGEST, HALF, assert_clean, contents, index_of, refused

from initcfg._checkpoints.sources import Located, cache, locate
from initcfg._checkpoints.sources.address import key
from initcfg.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("home")


# -- offline ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline(server, monkeypatch, how):
    url = server.add("/net.pth", DATA)
    first = locate(url)
    offline = True if how == "argument" else None
    if how == "variable":
        monkeypatch.setenv("INITCFG_OFFLINE", "1")
    assert locate(url, offline=offline) == first
    assert "was not fetched before" in str(refused(f"{server.url}/b.pth", offline=offline))
    assert "was not fetched before" in str(refused("s3://bucket/b.pth", offline=offline))
    assert len(server.asked) == 1
    assert locate(url, offline=False) == first
    assert len(server.asked) == 2


def test_variables_that_say_nothing(server, monkeypatch):
    monkeypatch.setenv("INITCFG_OFFLINE", "perhaps")
    assert "neither yes nor no" in str(refused(server.add("/net.pth", DATA)))
    monkeypatch.delenv("INITCFG_OFFLINE")
    monkeypatch.setenv("INITCFG_TIMEOUT", "soon")
    assert "INITCFG_TIMEOUT" in str(refused(server.add("/net.pth", DATA)))


# -- the cache -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["digest", "nothing"])
def test_damaged_cache_files_are_found_and_fetched_again(server, home, known):
    url = server.add("/net.pth", DATA)
    sha256 = DIGEST if known == "digest" else None
    path = locate(url, sha256=sha256).path
    stat = path.stat()
    path.write_bytes(DATA[:100] + bytes([DATA[100] ^ 1]) + DATA[101:])
    if known == "nothing":
        # One that is found by nothing but its bytes: the time is another one.
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert contents(locate(url, sha256=sha256)) == DATA
    path.write_bytes(DATA[:100])
    assert contents(locate(url, sha256=sha256)) == DATA
    path.unlink()
    assert contents(locate(url, sha256=sha256)) == DATA
    assert server.bodies() == 4
    assert_clean(home)


def test_damaged_records_are_written_again(server, home):
    url = server.add("/net.pth", DATA)
    locate(url)
    note = home / "addresses" / f"{key(url)}.json"
    for text in ("", "[]", '{"sha256": 3}', "\0"):
        note.write_text(text)
        assert contents(locate(url)) == DATA
    assert_clean(home)


def record_of(home, url):
    return home / "addresses" / f"{key(url)}.json"


def test_a_record_of_a_stranger_leads_nowhere_and_deletes_nothing(server, home):
    url = server.add("/net.pth", DATA)
    locate(url)
    sound = json.loads(record_of(home, url).read_text())
    victim = home / "thesis.tex"
    victim.write_text("precious")
    outside = {
        "name": ["../../thesis.tex", str(victim), "..", ".", "", "a/b", "a\\b", "a\0b", 5, None, "x" * 300],
        "sha256": ["..", "../..", "00", "A" * 64, DIGEST + "/..", 5, None, ["a"] * 64],
        "size": ["a", -1, True, None, 1.5, 1 << 70],
        "modified": ["a", True, None],
        "etag": [5, "a\r\nX: y", ["a"], "é"],
        "last_modified": [5, "a\nb"],
        "validated": ["now", None, True, float("nan"), float("inf")],
        "origin": [5, None],
        "more": [1],
    }
    for field, values in outside.items():
        for value in values:
            record_of(home, url).write_text(json.dumps({**sound, field: value}))
            assert contents(locate(url)) == DATA, (field, value)
            assert json.loads(record_of(home, url).read_text()).keys() == sound.keys()
    # One that is sound, of a file that is not what it says.
    folder = home / "checkpoints" / ("0" * 64)
    folder.symlink_to(home)
    fields = {"name": "thesis.tex", "sha256": "0" * 64, "size": 8, "modified": 1}
    record_of(home, url).write_text(json.dumps({**sound, **fields}))
    assert contents(locate(url)) == DATA
    with pytest.raises(CheckpointError):
        locate("http://127.0.0.1:9/net.pth", sha256="0" * 64, offline=True)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    [
        '{"etag": "a"}',
        '{"etag": 5, "last_modified": null, "total": 7}',
        '{"etag": "a\\r\\nHost: b", "total": 7}',
        '{"total": "7"}',
        '{"total": -1}',
        "[" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        "7",
        "\0",
    ],
)
def test_notes_that_are_damaged_count_as_absent(server, home, text):
    url = server.add("/net.pth", DATA)
    (home / "addresses").mkdir(parents=True)
    base = home / "addresses" / key(url)
    base.with_name(f"{key(url)}.partial").write_bytes(b"abc")
    base.with_name(f"{key(url)}.partial.json").write_text(text)
    base.with_name(f"{key(url)}.json").write_text(text)
    assert contents(locate(url)) == DATA
    assert_clean(home)


def test_notes_that_are_no_files_are_not_waited_for(server, home):
    url = server.add("/net.pth", DATA)
    (home / "addresses").mkdir(parents=True)
    os.mkfifo(record_of(home, url))
    folder = home / "checkpoints" / DIGEST
    folder.mkdir(parents=True)
    os.mkfifo(folder / "a")
    assert contents(locate(url)) == DATA
    assert contents(locate(url, sha256=DIGEST)) == DATA


def test_a_finished_part_needs_no_request(server, home):
    url = server.add("/net.pth", DATA)
    locate(url)
    record = json.loads((home / "addresses" / f"{key(url)}.json").read_text())
    base = home / "addresses" / key(url)
    base.with_name(f"{key(url)}.json").unlink()
    base.with_name(f"{key(url)}.partial").write_bytes(DATA)
    fields = {"etag": record["etag"], "last_modified": None, "total": len(DATA)}
    base.with_name(f"{key(url)}.partial.json").write_text(json.dumps(fields))
    assert contents(locate(url)) == DATA
    assert len(server.asked) == 1
    assert_clean(home)


CHILD = """
import sys
from initcfg._checkpoints.sources import download, locate
download.BACKOFF = 0.001
print(locate(sys.argv[1]).path, flush=True)
"""


def child(url: str, code: str = CHILD, **environment: str) -> subprocess.Popen[str]:
    """A process that locates an address and prints where it is."""
    return subprocess.Popen(
        [sys.executable, "-c", code, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_processes_fetch_a_file_once(server, home):
    url = server.add("/net.pth", DATA, script=[http.stall(HALF)])
    first = child(url)
    wait_for(server.stalled.is_set)
    others = [child(url)]
    results: list[Located] = []
    threads = [threading.Thread(target=lambda: results.append(locate(url))) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    assert len(server.asked) == 1
    server.go_on.set()
    outputs = {process.communicate(timeout=20)[0].strip() for process in (first, *others)}
    for thread in threads:
        thread.join(20)
    assert server.bodies() == 1
    assert outputs == {str(result.path) for result in results} and len(results) == 3
    assert Path(outputs.pop()).read_bytes() == DATA
    assert_clean(home)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_killed_process_leaves_a_part_that_the_next_goes_on_with(server, home):
    url = server.add("/net.pth", DATA, script=[http.stall(HALF)])
    process = child(url)
    wait_for(lambda: any(path.stat().st_size == HALF for path in home.rglob("*.partial")))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert not list((home / "checkpoints").glob("*/*"))
    assert contents(locate(url)) == DATA
    assert server.asked[1].headers["Range"] == f"bytes={HALF}-"
    assert_clean(home)


def test_a_full_disk(server, home, monkeypatch):
    url = server.add("/net.pth", DATA)
    whole = cache.write
    room = [100_000]

    def full(file, block):
        room[0] -= len(block)
        if room[0] < 0:
            whole(file, block[: len(block) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, block)

    monkeypatch.setattr(cache, "write", full)
    text = str(refused(url))
    assert "no room left" in text and "INITCFG_HOME" in text
    assert_clean(home)
    monkeypatch.setattr(cache, "write", whole)
    assert contents(locate(url)) == DATA
    assert_clean(home)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the system")
def test_a_disk_that_takes_no_more_bytes(server, home):
    url = server.add("/net.pth", DATA)
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n" + CHILD
    out, error = child(url, limited).communicate(timeout=20)
    assert out == "" and "no room left" in error
    assert_clean(home)


def test_a_full_disk_is_foreseen(server, home, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    assert "has room for 1." in str(refused(server.add("/net.pth", DATA)))
    assert_clean(home)


def test_a_full_disk_at_the_rename(server, home, monkeypatch):
    url = server.add("/net.pth", DATA)
    real = os.replace

    def full(source, target):
        if str(target).endswith("net.pth"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert "no room left" in str(refused(url))
    assert_clean(home)


def test_a_cache_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "plain").write_text("")
    monkeypatch.setenv("INITCFG_HOME", str(tmp_path / "plain"))
    assert "cannot be stored" in str(refused(server.add("/net.pth", DATA)))


def test_file_systems_without_locks(server, home, monkeypatch):
    def unsupported(lock):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    url = server.add("/net.pth", DATA, script=[http.cut(HALF)])
    assert contents(locate(url)) == DATA
    assert_clean(home)


# -- shards ----------------------------------------------------------------------------------------


def test_an_index_on_the_web_brings_its_shards(server, home):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    url = server.add("/m/model.safetensors.index.json", index_of(*names, names[0]))
    for number, name in enumerate(names):
        server.add(f"/m/{name}", DATA + bytes([number]))
    located = locate(url)
    assert located.path.is_dir()
    assert sorted(os.listdir(located.path)) == [*names, "model.safetensors.index.json"]
    assert (located.path / names[1]).read_bytes() == DATA + b"\1"
    assert locate(url) == located and locate(url, offline=True) == located
    server.add(f"/m/{names[1]}", DATA)
    assert locate(url).path != located.path
    assert_clean(home)


@pytest.mark.parametrize(
    "content", [index_of("../x.safetensors"), index_of("/etc/passwd"), index_of("a?b"), b"[]", b"\xff", b"{}"]
)
def test_an_index_that_does_harm(server, content):
    url = server.add("/m/model.safetensors.index.json", content)
    assert "ndex" in str(refused(url))
    assert len(server.asked) == 1


# -- what another user filled ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_may_only_be_read_is_read(server, monkeypatch, number):
    """The file is there, and the server says that it is still the one: no lock, and no note, is needed."""
    url = server.add("/net.pth", DATA)
    first = locate(url)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache.FileLock, "acquire", refuse)
    monkeypatch.setattr(cache.os, "replace", refuse)
    assert locate(url) == first
    assert len(server.asked) == 2
    for other in (server.add("/other.pth", DATA), server.add("/net.pth", DATA + b"x")):
        error = refused(other)
        assert "cannot be stored in" in str(error) and "INITCFG_HOME" in str(error.fix)


def test_a_home_that_the_user_has_not(server, monkeypatch):
    monkeypatch.setenv("INITCFG_HOME", "~no_such_user_anywhere/cache")
    error = refused(server.add("/net.pth", DATA))
    assert error.problem.startswith("There is no place for what is fetched") and "fix:" not in error.problem

"""Sources: the right file, or a clear error; never a corrupt cache."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import namedtuple
from email.utils import formatdate
from pathlib import Path
from typing import Any

import fsspec
import pytest
import server as http
import torch

from initcfg._sources import Located, connection, download, locate, part, register, schemes
from initcfg._sources.address import file_name, identity, key, scrubbed, shown
from initcfg._sources.digests import named_digest
from initcfg.errors import CheckpointError, CheckpointNotFoundError, InitcfgError

DATA = random.Random(5).randbytes(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, and no patience."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("INITCFG_", "HF_", "MMENGINE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INITCFG_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("INITCFG_RETRIES", "2")
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    return tmp_path / "cache"


@pytest.fixture
def server():
    with http.serving() as running:
        yield running


def contents(located: Located) -> bytes:
    assert located.path is not None and located.memory is None
    return located.path.read_bytes()


def assert_sound(home: Path) -> None:
    """Every file in the cache is what its folder says, and every record leads to one of them."""
    for file in (home / "checkpoints").glob("*/*"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.parent.name
    for note in (home / "addresses").glob("*.json"):
        record = json.loads(note.read_text())
        if not note.name.endswith(".partial.json"):
            assert (home / "checkpoints" / record["sha256"] / record["name"]).is_file()


def assert_clean(home: Path) -> None:
    """Sound, and nothing is half there."""
    assert_sound(home)
    assert not list((home / "addresses").glob("*partial*"))
    assert not list(home.rglob("*.new"))


def refused(*args: Any, **options: Any) -> InitcfgError:
    with pytest.raises(CheckpointError) as caught:
        locate(*args, **options)
    return caught.value


# -- the web: it works -----------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_asked_about_afterwards(server, home):
    url = server.add("/net.pth", DATA)
    first, second = locate(url), locate(url)
    assert contents(first) == DATA and first == second
    assert first.origin == url and first.sha256 is None and first.path.name == "net.pth"
    assert [request.status for request in server.asked] == [200, 304]
    assert_clean(home)


@pytest.mark.parametrize("known", ["argument", "name"])
def test_where_the_digest_is_known_nothing_is_asked_twice(server, home, known):
    name, sha256 = ("/net.pth", DIGEST) if known == "argument" else (f"/net-{DIGEST[:8]}.pth", None)
    url = server.add(name, DATA)
    assert locate(url, sha256=sha256).sha256 == DIGEST
    assert locate(url, sha256=sha256).sha256 == DIGEST
    assert len(server.asked) == 1


def test_a_digest_finds_the_file_whatever_its_address(server):
    locate(server.add("/net.pth", DATA))
    assert contents(locate(f"{server.url}/elsewhere.pth", sha256=DIGEST.upper())) == DATA
    assert len(server.asked) == 1


def test_what_torch_hub_fetched_is_used(server, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = f"net-{DIGEST[:8]}.pth"
    (folder / name).write_bytes(DATA)
    assert locate(f"{server.url}/{name}").path == folder / name
    (folder / name).write_bytes(DATA[:-1])
    server.add(f"/{name}", DATA)
    assert contents(locate(f"{server.url}/{name}")) == DATA
    assert server.bodies() == 1


def test_a_new_version_is_fetched_and_the_old_one_stays(server, home):
    url = server.add("/net.pth", DATA)
    old = locate(url)
    server.files["/net.pth"].data = DATA[::-1]
    new = locate(url)
    assert contents(new) == DATA[::-1] and contents(old) == DATA
    server.files["/net.pth"].data = DATA
    assert locate(url).path == old.path
    assert_clean(home)


def test_servers_that_ignore_conditions_are_heard_only_to_the_headers(server):
    url = server.add("/net.pth", DATA, conditions=False)
    first = locate(url)
    assert locate(url) == first
    assert server.bodies() == 2


def test_dates_will_do_for_versions(server):
    url = server.add("/net.pth", DATA, etag="", modified=formatdate(1e9, usegmt=True))
    server.files["/net.pth"].script = [http.cut(HALF)]
    assert contents(locate(url)) == DATA
    assert server.asked[1].headers["If-Range"] == formatdate(1e9, usegmt=True)
    locate(url)
    assert server.asked[2].headers["If-Modified-Since"] == formatdate(1e9, usegmt=True)


def test_chunked_bodies(server, home):
    url = server.add("/net.pth", DATA, script=[http.chunked])
    assert contents(locate(url)) == DATA
    url = server.add("/other.pth", DATA, script=[http.chunked_and_cut])
    assert contents(locate(url)) == DATA
    assert_clean(home)


def test_user_and_password_go_to_their_server_alone(server):
    with http.serving() as other:
        target = other.add("/net.pth", DATA)
        url = server.add("/start.pth", b"", script=[http.redirect(target)])
        secret = url.replace("http://", "http://me:secret@")
        located = locate(secret)
        assert contents(located) == DATA
        assert server.asked[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"
        assert "Authorization" not in other.asked[0].headers
        assert "secret" not in located.origin


# -- the web: it does not work at first ------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [http.cut(HALF), http.truncated(HALF)], ids=["connection reset", "body too short"]
)
def test_what_came_is_not_fetched_again(server, home, failure):
    url = server.add("/net.pth", DATA, script=[failure])
    assert contents(locate(url)) == DATA
    assert [request.status for request in server.asked] == [200, 206]
    assert server.asked[1].headers["If-Range"] == server.files["/net.pth"].version
    start = int(server.asked[1].headers["Range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= HALF and server.asked[1].sent == len(DATA) - start
    assert_clean(home)


def test_progress_wins_patience(server, home):
    pieces = 12
    url = server.add("/net.pth", DATA, script=[http.truncated(len(DATA) // pieces)] * (pieces - 1))
    assert contents(locate(url)) == DATA
    assert len(server.asked) > 6
    assert_clean(home)


def test_servers_without_ranges_start_anew(server, home):
    url = server.add("/net.pth", DATA, ranges=False, script=[http.truncated(HALF)])
    assert contents(locate(url)) == DATA
    assert [request.status for request in server.asked] == [200, 200]
    assert_clean(home)


def test_another_version_is_not_appended(server, home):
    def change(handler):
        http.truncated(HALF)(handler)
        handler.file.data = DATA[::-1]

    url = server.add("/net.pth", DATA, script=[change])
    assert contents(locate(url)) == DATA[::-1]
    assert_clean(home)


def test_servers_that_ignore_if_range_are_found_out(server, home):
    def change(handler):
        http.truncated(HALF)(handler)
        handler.file.data = DATA[::-1]

    def careless(handler):
        del handler.headers["If-Range"]
        handler.serve()

    url = server.add("/net.pth", DATA, script=[change, careless])
    assert contents(locate(url)) == DATA[::-1]
    assert [request.status for request in server.asked] == [200, 206, 200]
    assert_clean(home)


def test_parts_that_do_not_belong_together_are_fetched_once_more(server, home):
    def change(handler):
        http.truncated(HALF)(handler)
        handler.file.data = DATA

    url = server.add("/net.pth", DATA[::-1], etag="", script=[change])
    assert contents(locate(url, sha256=DIGEST)) == DATA
    assert [request.status for request in server.asked] == [200, 206, 200]
    assert_clean(home)


def test_without_a_version_and_a_digest_nothing_is_appended(server, home):
    url = server.add("/net.pth", DATA, etag="", script=[http.truncated(HALF)])
    assert contents(locate(url)) == DATA
    assert [request.status for request in server.asked] == [200, 200]
    url = server.add("/weak.pth", DATA, etag='W/"1"', script=[http.truncated(HALF)])
    assert contents(locate(url)) == DATA
    assert "Range" not in server.asked[-1].headers
    assert_clean(home)


def test_a_wrong_part_is_refused(server, home):
    url = server.add("/net.pth", DATA, script=[http.truncated(HALF), http.wrong_part])
    assert contents(locate(url)) == DATA
    assert_clean(home)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_passing_trouble_passes(server, status):
    url = server.add("/net.pth", DATA, script=[http.says(status), http.says(status)])
    assert contents(locate(url)) == DATA


def test_the_server_says_how_long_to_wait(server, monkeypatch):
    waited = []
    monkeypatch.setattr(download.time, "sleep", waited.append)
    url = server.add("/net.pth", DATA, script=[http.says(429, Retry_After="7")])
    assert contents(locate(url)) == DATA
    url = server.add("/date.pth", DATA, script=[http.says(503, Retry_After=formatdate(time.time() + 50))])
    assert contents(locate(url)) == DATA
    assert waited[0] == 7 and 40 < waited[1] <= 50
    url = server.add("/long.pth", DATA, script=[http.says(503, Retry_After="86400")])
    assert "86400 seconds" in str(refused(url))


def test_hung_up_connections(server):
    url = server.add("/net.pth", DATA, script=[http.hang_up, http.hang_up])
    assert contents(locate(url)) == DATA


def test_slow_bodies_are_given_up_and_gone_on_with(server, home, monkeypatch):
    monkeypatch.setenv("INITCFG_TIMEOUT", "0.3")
    url = server.add("/net.pth", DATA, script=[http.stall(HALF)])
    assert contents(locate(url)) == DATA
    assert [request.status for request in server.asked] == [200, 206]
    assert_clean(home)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(server, status):
    server.add("/there.pth", DATA)
    url = server.add("/here.pth", b"", script=[http.redirect("there.pth", status)])
    located = locate(url)
    assert contents(located) == DATA and located.path.name == "here.pth"


# -- the web: it does not work ---------------------------------------------------------------------


def test_missing_files(server, home):
    with pytest.raises(CheckpointNotFoundError, match="404"):
        locate(f"{server.url}/none.pth")
    assert len(server.asked) == 1
    assert_clean(home)


@pytest.mark.parametrize("status", [401, 403, 400, 418, 501])
def test_refusals_are_not_repeated(server, home, status):
    url = server.add("/net.pth", DATA, script=[http.says(status)])
    assert str(status) in str(refused(url))
    assert len(server.asked) == 1
    assert_clean(home)


@pytest.mark.parametrize("known", ["argument", "name"])
def test_wrong_digests(server, home, known):
    wrong = "0" * 64
    name, sha256 = ("/net.pth", wrong) if known == "argument" else ("/net-00000000.pth", None)
    url = server.add(name, DATA)
    text = str(refused(url, sha256=sha256))
    assert DIGEST in text and "00000000" in text
    assert server.bodies() == 1
    assert_clean(home)
    assert not list((home / "checkpoints").glob("*/*"))


def test_a_digest_that_was_right_may_not_fit_the_next_time(server, home):
    url = server.add("/net.pth", DATA)
    locate(url)
    assert "not what sha256= says" in str(refused(url, sha256="1" * 64))
    assert contents(locate(url)) == DATA
    assert_clean(home)


def test_bodies_that_never_end_well(server, home):
    url = server.add("/net.pth", DATA, ranges=False, script=[http.truncated(HALF)] * 9)
    text = str(refused(url))
    assert f"{HALF:,} of {len(DATA):,} bytes" in text and "to mend" in text
    assert len(server.asked) == 3
    assert_sound(home)
    server.files["/net.pth"].script.clear()
    assert contents(locate(url)) == DATA
    assert_clean(home)


def test_redirects_in_circles_and_to_elsewhere(server, home):
    url = server.add("/a.pth", b"", script=[http.redirect("/b.pth")])
    server.add("/b.pth", b"", script=[http.redirect("/a.pth")])
    assert "in a circle" in str(refused(url))
    for number in range(12):
        server.add(f"/{number}.pth", b"", script=[http.redirect(f"/{number + 1}.pth")])
    assert "more than 10 times" in str(refused(f"{server.url}/0.pth"))
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a.pth"):
        url = server.add("/c.pth", b"", script=[http.redirect(target)])
        assert "no web address" in str(refused(url))
    assert_clean(home)


def test_https_never_leads_to_http():
    with pytest.raises(CheckpointError, match="anyone on the way"):
        connection._check_redirect("https://a.org/x", "https://a.org/x", "http://a.org/x", [])
    connection._check_redirect("http://a.org/x", "http://a.org/x", "https://a.org/x", [])


def test_web_pages_are_no_checkpoints(server, home):
    url = server.add("/net.pth", b"<html>Sign in</html>", kind="text/html")
    assert "web page" in str(refused(url))
    assert "empty file" in str(refused(server.add("/empty.pth", b"")))
    encoded = http.says(200, Content_Encoding="gzip")
    assert "compressed" in str(refused(server.add("/zip.pth", DATA, script=[encoded])))
    assert not list((home / "checkpoints").glob("*/*"))


def test_no_server(home):
    with http.serving() as gone:
        url = gone.add("/net.pth", DATA)
    assert "no connection" in str(refused(url))
    assert "no valid address" in str(refused("http:///net.pth"))
    assert "no valid address" in str(refused("http://127.0.0.1:port/net.pth"))
    assert "no valid address" in str(refused("http://[::1/net.pth"))
    assert_clean(home)


@pytest.mark.parametrize("trouble", ["gone", "500", "stalled"])
def test_without_the_network_the_cached_copy_is_used_with_a_warning(home, monkeypatch, trouble):
    monkeypatch.setenv("INITCFG_TIMEOUT", "0.2")
    with http.serving() as server:
        url = server.add("/net.pth", DATA)
        first = locate(url)
        server.files["/net.pth"].data = DATA[::-1]
        behaviour = http.says(500) if trouble == "500" else http.stall(0)
        server.files["/net.pth"].script = [behaviour] * 9
        if trouble != "gone":
            with pytest.warns(UserWarning, match="in the cache is used"):
                assert locate(url) == first
    if trouble == "gone":
        with pytest.warns(UserWarning, match="in the cache is used"):
            assert locate(url) == first
    assert_sound(home)


def test_secrets_are_not_in_messages(server, home):
    for url in (
        server.url.replace("http://", "http://me:hunter22@") + "/none.pth?token=hunter22",
        "http://me:hunter22@127.0.0.1:1/net.pth?X-Amz-Signature=hunter22",
        "http://me:hunter22@127.0.0.1:port/net.pth",
        "nosuchfs://me:hunter22@host/net.pth",
    ):
        error: BaseException | None = refused(url)
        assert "hunter22" not in str(error)
        if "token" in url:
            assert "none.pth?..." in str(error)
    assert "hunter22" not in "".join(path.read_text() for path in home.rglob("*.json"))


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
from initcfg._sources import download, locate
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
    whole = part.write
    room = [100_000]

    def full(file, block):
        room[0] -= len(block)
        if room[0] < 0:
            whole(file, block[: len(block) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, block)

    monkeypatch.setattr(part, "write", full)
    text = str(refused(url))
    assert "no room left" in text and "INITCFG_HOME" in text
    assert_clean(home)
    monkeypatch.setattr(part, "write", whole)
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
    monkeypatch.setattr(part.shutil, "disk_usage", lambda path: usage(10, 9, 1))
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
    def unsupported(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("initcfg._sources.locks._try", unsupported)
    url = server.add("/net.pth", DATA, script=[http.cut(HALF)])
    assert contents(locate(url)) == DATA
    assert_clean(home)


# -- shards ----------------------------------------------------------------------------------------


def index_of(*names: str) -> bytes:
    return json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}).encode()


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
    assert "not what its name says" in str(error) and "rename" in str(error.mend)
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
    assert "no name" in str(refused({1: torch.ones(1)}))
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
        "from pathlib import Path\nfrom initcfg._sources import Located\n"
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
        assert f"initcfg[{extra}]" in str(refused(source).mend)
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
        patched.setattr(part, "write", full)
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


def test_addresses():
    assert shown("s3://bucket/a#b") == "s3://bucket/a"
    assert identity("http://A.org/X?b=1&token=2") == identity("http://u:p@a.org/X?b=1&Expires=9")
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
    monkeypatch.setattr("initcfg._sources.progress._SMALL", 1)
    locate(server.add("/net.pth", DATA))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    url = server.add("/net2.pth", DATA, script=[http.cut(HALF)])
    with warnings.catch_warnings():
        assert contents(locate(url)) == DATA
    assert "net2.pth" in capfd.readouterr().err

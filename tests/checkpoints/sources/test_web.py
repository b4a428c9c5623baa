"""Files of the web: the right file, or a clear error; never a corrupt cache."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
import server as http
from fetched import DATA, DIGEST, HALF, assert_clean, assert_sound, contents, refused

from initcfg._checkpoints.sources import connection, download, locate
from initcfg.errors import CheckpointError, CheckpointNotFoundError

pytestmark = pytest.mark.usefixtures("home")


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
    assert f"{HALF:,} of {len(DATA):,} bytes" in text and "fix: " in text
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
        assert "not a web address" in str(refused(url))
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
    assert "not a valid address" in str(refused("http:///net.pth"))
    assert "not a valid address" in str(refused("http://127.0.0.1:port/net.pth"))
    assert "not a valid address" in str(refused("http://[::1/net.pth"))
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

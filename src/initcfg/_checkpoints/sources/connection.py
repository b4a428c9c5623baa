"""One HTTP request: timeouts, redirects, and what a status means."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from initcfg._checkpoints.sources.address import scrubbed, shown
from initcfg._version import __version__
from initcfg.errors import CheckpointError, CheckpointFetchError, CheckpointNotFoundError

CONNECT_TIMEOUT = 20.0
_REDIRECTS = 10
_AGAIN = {408, 425, 429}


class TransientError(Exception):
    """Something that may go better another time: ``after`` the seconds that the server asks to wait.

    Where it is ``hopeless``, one more try is enough.
    """

    def __init__(self, problem: str, after: float = 0.0, hopeless: bool = False) -> None:
        super().__init__(problem)
        self.after = after
        self.hopeless = hopeless


@contextlib.contextmanager
def request(url: str, headers: Mapping[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
    """Send a request, follow redirects, and hand over a response of status 200, 206, 304 or 416.

    A user and a password in the address are sent to its own host alone.
    """
    try:
        current, authorization = _without_user(url)
    except ValueError as error:
        raise CheckpointError(f"{shown(url)!r} is not a valid address: {scrubbed(error, url)}.") from error
    if not urlsplit(current).hostname:
        raise CheckpointError(
            f"{shown(url)!r} is not a valid address: it names no server.", fix="Correct the address."
        )
    seen = [current]
    while True:
        response = _send(current, {**headers, **authorization}, timeout, url)
        with response:
            if response.status not in (301, 302, 303, 307, 308):
                _check(response, url)
                yield response
                return
            target, own = _without_user(urljoin(current, response.headers.get("Location") or ""))
        _check_redirect(url, current, target, seen)
        same = urlsplit(target)[:2] == urlsplit(current)[:2]
        authorization = own or (authorization if same else {})
        current = target
        seen.append(current)


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    # What people paste has blanks and letters that may not stand in a request.
    path, query = (quote(part, safe="%/:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    bare = urlunsplit((parts.scheme.lower(), host, path, query, ""))
    if not at:
        return bare, {}
    token = base64.b64encode(unquote(user).encode("utf-8")).decode("ascii")
    return bare, {"Authorization": f"Basic {token}"}


def _check_redirect(url: str, current: str, target: str, seen: list[str]) -> None:
    scheme, host = urlsplit(target)[:2]
    if target in seen or len(seen) > _REDIRECTS:
        problem = "leads in a circle" if target in seen else f"redirects more than {_REDIRECTS} times"
        raise CheckpointFetchError(f"The address {shown(url)!r} {problem}.", fix="Give another address.")
    if scheme not in ("http", "https") or not host:
        raise CheckpointError(
            f"The address {shown(url)!r} redirects to {shown(target)!r}, which is not a web address."
        )
    if scheme == "http" and urlsplit(current).scheme == "https":
        raise CheckpointError(
            f"The address {shown(url)!r} redirects to {shown(target)!r}, where anyone on the way could "
            "change the file.",
            fix="Give the https:// address of the file, or download it, and give its path and sha256=.",
        )


def _send(url: str, headers: Mapping[str, str], timeout: float, asked: str) -> http.client.HTTPResponse:
    try:
        message = urllib.request.Request(url, headers={"User-Agent": f"initcfg/{__version__}", **headers})
        return _opener(timeout).open(message, timeout=min(CONNECT_TIMEOUT, timeout))
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        origin = shown(asked)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise CheckpointFetchError(
                f"The server of {origin!r} cannot prove who it is: {reason.verify_message}.",
                fix="Let SSL_CERT_FILE name the certificates to trust, or download the file otherwise.",
            ) from error
        if isinstance(error, (http.client.InvalidURL, ValueError, UnicodeError)):
            raise CheckpointError(
                f"{origin!r} is not a valid address: {scrubbed(error, asked)}.", fix="Correct the address."
            ) from error
        if isinstance(reason, TimeoutError):
            raise TransientError("the server did not answer in time") from error
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        nameless = isinstance(reason, socket.gaierror) and reason.errno != socket.EAI_AGAIN
        raise TransientError(
            f"there is no connection ({scrubbed(said, asked)})", hopeless=nameless
        ) from error


def _check(response: http.client.HTTPResponse, url: str) -> None:
    status, origin = response.status, shown(url)
    if status in (200, 206, 304, 416):
        return
    said = f"{status} {response.reason}".strip()
    if status in (404, 410):
        raise CheckpointNotFoundError(
            f"There is no checkpoint {origin!r}: the server says {said}.", fix="Check the address."
        )
    if status in _AGAIN or (status >= 500 and status not in (501, 505)):
        raise TransientError(f"the server says {said}", _retry_after(response.headers.get("Retry-After", "")))
    closed = "Check the address, and whether it needs a sign-in or has expired."
    raise CheckpointFetchError(
        f"The server does not give out {origin!r}: it says {said}.",
        fix=closed if status in (401, 403, 407) else None,
    )


def _retry_after(text: str) -> float:
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


class _Handler(urllib.request.HTTPSHandler):
    """Opens connections whose timeout, once they stand, is another one."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_patient(http.client.HTTPConnection, self._patience), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_patient(http.client.HTTPSConnection, self._patience), req)

    http_request = urllib.request.AbstractHTTPHandler.do_request_


@functools.cache
def _patient(base: Any, patience: float) -> Any:
    class Connection(base):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(patience)

    return Connection


def _opener(timeout: float) -> urllib.request.OpenerDirector:
    # No handler of errors and redirects: every response comes back as it is. No ftp, file or data either.
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Handler(timeout)):
        opener.add_handler(handler)
    return opener

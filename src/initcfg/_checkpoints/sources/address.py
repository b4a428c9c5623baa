"""Addresses in messages and in the cache: without passwords and tokens."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

# Parameters that change from request to request, or are secrets: two addresses that differ in them alone
# are the same file.
_PASSING = re.compile(
    r"(?i)^(x-(amz|goog|ms|oss|cos)-.*|.*(token|signature|secret|password|passwd|credential|api[_-]?key|auth).*"
    r"|sig|sv|se|sp|sr|expires|awsaccesskeyid|googleaccessid|policy|key-pair-id|key)$"
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@-]+")


def shown(url: str) -> str:
    """An address as messages show it: what can hold a secret is left out.

    Example:
        >>> shown("https://me:secret@example.org/a.pth?token=1#x")
        'https://example.org/a.pth?...'
    """
    head, separator, rest = url.partition("://")
    if not separator:
        return url
    rest, _, _ = rest.partition("#")
    rest, question, _ = rest.partition("?")
    place, slash, path = rest.partition("/")
    return f"{head}://{place.rpartition('@')[2]}{slash}{path}" + ("?..." if question else "")


def scrubbed(text: object, url: str) -> str:
    """What another library says about an address, without what :func:`shown` leaves out of it.

    Example:
        >>> scrubbed("no route to me:secret@example.org", "ftp://me:secret@example.org/a")
        'no route to ***@example.org'
    """
    result = str(text).replace(url, shown(url))
    try:
        parts = urlsplit(url)
    except ValueError:
        return result
    user = parts.netloc.rpartition("@")[0]
    secrets = [user, parts.query, parts.password or "", unquote(parts.password or "")]
    secrets += [value for _, value in parse_qsl(parts.query) if len(value) > 5]
    for secret in secrets:
        if len(secret) > 2:
            result = result.replace(secret, "***")
    return result


def identity(url: str) -> str:
    """What tells two files apart: the address without user, fragment and passing parameters.

    Example:
        >>> identity("https://me:secret@Example.org/a.pth?id=3&X-Amz-Signature=ab#part")
        'https://example.org/a.pth?id=3'
    """
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    if parts.scheme.lower() not in ("http", "https"):
        return url.replace(parts.netloc, place, 1) if parts.netloc else url
    place = place.lower()
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _PASSING.match(k)]
    return urlunsplit((parts.scheme.lower(), place, parts.path, urlencode(kept), ""))


def key(url: str) -> str:
    """The name under which the cache keeps an address."""
    return hashlib.sha256(identity(url).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def file_name(url: str) -> str:
    """The name of the file at an address, fit for any file system.

    Example:
        >>> file_name("https://example.org/models/re%20s/net-0123abcd.pth?raw=1")
        'net-0123abcd.pth'
    """
    scheme, _, path = url.partition("#")[0].partition("?")[0].partition("://")
    if scheme.lower() in ("http", "https"):
        path = path.partition("/")[2]
    last = unquote(path.rstrip("/").rpartition("/")[2])
    safe = _UNSAFE.sub("_", last).strip("._") or "checkpoint"
    # The end holds the digest and the suffix.
    return safe[-120:]


SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")


def scheme_of(source: str) -> str | None:
    """The scheme of an address, in lower case; None of a path.

    Example:
        >>> scheme_of("HTTPS://example.org/a.pth"), scheme_of("weights/a.pth")
        ('https', None)
    """
    found = SCHEME.match(source)
    scheme = found[1].lower() if found else None
    # fsspec chains: "simplecache::s3://bucket/a.pth"; but http://[::1]/a.pth is none.
    if "::" in source and "://" in source and scheme not in ("http", "https"):
        return "fsspec"
    return scheme

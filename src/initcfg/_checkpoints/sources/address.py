"""Addresses in messages and in the cache: without passwords and tokens."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

# The parameters of a signature, by who signs: of the first group all must be there, of the second one. They
# change from request to request, so that two addresses that differ in them alone are the same file. Whatever
# else an address says, it may mean another file.
_SIGNERS = (
    (
        "x-amz-signature",
        "",
        "x-amz-algorithm x-amz-credential x-amz-date x-amz-expires x-amz-signedheaders x-amz-security-token "
        "x-amz-content-sha256 x-amz-checksum-mode",
    ),
    (
        "x-goog-signature",
        "",
        "x-goog-algorithm x-goog-credential x-goog-date x-goog-expires x-goog-signedheaders",
    ),
    ("AWSAccessKeyId Signature Expires", "", "x-amz-security-token"),
    ("GoogleAccessId Signature Expires", "", ""),
    ("Signature Key-Pair-Id", "Policy Expires", ""),
    (
        "sig",
        "sv se si",
        "ss srt sr sp st sip spr skoid sktid skt ske sks skv saoid suoid scid sdd ses",
    ),
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
    """What tells two files apart: the address without password, fragment and signature.

    Example:
        >>> identity("https://Example.org/a.pth?id=3&X-Amz-Signature=ab#part")
        'https://example.org/a.pth?id=3'
        >>> identity("https://me:secret@example.org/a.pth?key=3")
        'https://me@example.org/a.pth?key=3'
    """
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    user = user.partition(":")[0] + at
    if parts.scheme.lower() not in ("http", "https"):
        return url.replace(parts.netloc, user + place, 1) if parts.netloc else url
    query = _unsigned(parts.query)
    return urlunsplit((parts.scheme.lower(), user + place.lower(), parts.path, query, ""))


def _unsigned(query: str) -> str:
    """A query as it was written, without the parameters of a signature."""
    parameters = [(_known_name(each.partition("=")[0]), each) for each in query.split("&") if each]
    names = {name for name, _ in parameters}
    for every, some, others in _SIGNERS:
        if set(every.split()) <= names and (not some or names.intersection(some.split())):
            signature = {*every.split(), *some.split(), *others.split()}
            parameters = [(name, each) for name, each in parameters if name not in signature]
            names -= signature
    return "&".join(each for _, each in parameters)


def _known_name(written: str) -> str:
    name = unquote(written)
    lower = name.lower()
    # Of these two, the letters' case is not fixed.
    return lower if lower.startswith(("x-amz-", "x-goog-")) else name


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

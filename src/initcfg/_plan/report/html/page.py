"""A whole page: one file that needs nothing besides and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from initcfg._config.files import write_atomically
from initcfg._plan.report.html.elements import Html, element, together
from initcfg._plan.report.html.script import SCRIPT
from initcfg._plan.report.html.style import STYLE
from initcfg._plan.report.html.wording import Wording
from initcfg._version import __version__


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


# A browser runs this script and this style and fetches nothing, whatever else were in a page.
_POLICY = (
    f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def whole_page(title: str, *parts: object, words: Wording) -> str:
    """The text of a page with these parts below its title."""
    head = together(
        (
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="referrer", content="no-referrer"),
            element("meta", name="generator", content=f"initcfg {__version__}"),
            element("title", f"{title} – initcfg"),
            element("style", Html(STYLE)),
        )
    )
    main = element("main", *parts)
    skip = element("a", words("to the tensors"), href="#tensors", class_="skip")
    body = element(
        "body",
        skip if 'id="tensors"' in main else None,
        main,
        element("script", Html(SCRIPT)),
    )
    return f"<!doctype html>\n{element('html', element('head', head), body, lang=words.tag)}\n"


def written(text: str, path: str | Path | None) -> str:
    """The text, which is also written to a file if there is a path: whole, or not at all."""
    if path is not None:
        write_atomically(path, text.encode())
    return text


def facts(items: Mapping[str, object]) -> Html:
    """A list of facts, each with its name."""
    pairs = (
        element("div", element("dt", name), element("dd", item))
        for name, item in items.items()
        if item not in (None, "")
    )
    return element("dl", *pairs, class_="facts")

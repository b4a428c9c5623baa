"""Pictures by matplotlib, as SVG within a page: texts stay texts, and colors follow the page's.

What is written in a picture never goes through matplotlib, which would read dollars as mathematics and lacks
letters of many languages: it draws a short sign in its place, and the text is put there afterwards.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

from initcfg._plan.report.html.elements import Html, element, together
from initcfg._plan.report.html.wording import Wording
from initcfg.errors import shown

WIDTH = 400
# Points. A picture is as wide as a telephone's screen, so that its letters can be read there.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "initcfg",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": True,
    "savefig.transparent": True,
}
# What stands for a color of the page while matplotlib draws.
_COLORS = ("text", "muted", "line", "accent", "error", "warning", "good", "bar", "theory", "band", "page")
COLOR = {name: f"#0000{place + 1:02x}" for place, name in enumerate(_COLORS)}
_NAMES = {color: name for name, color in COLOR.items()}
_SIGN = re.compile(r"@(\d+)@_*")
_DIGITS = re.compile(r"-?[0-9]+\.[0-9]{3,}")
_LETTERS = re.compile(r"\s*([A-Za-z])\s*")
_SIZE = re.compile(r"([0-9.]+)px")
_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib.figure  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


class Drawing:
    """A picture in the making: a figure with one pane or several, and the texts that are put into it."""

    def __init__(self, height: float, rows: int = 1, **options: Any) -> None:
        # Not pyplot: it would choose a window for the whole process.
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

        self._texts: list[str] = []
        self._tips: dict[str, Sequence[str]] = {}
        self._crisp: set[str] = set()
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        self.panes: list[Any] = list(self.figure.subplots(rows, 1, squeeze=False, **options)[:, 0])
        for pane in self.panes:
            pane.tick_params(colors=COLOR["muted"], labelcolor=COLOR["text"], width=0.6)
            pane.set_facecolor("none")
            for spine in pane.spines.values():
                spine.set_color(COLOR["muted"])
                spine.set_linewidth(0.6)

    def text(self, words: str, width: int | None = None) -> str:
        """What matplotlib draws in the place of a text."""
        self._texts.append(shown(words))
        sign = f"@{len(self._texts) - 1}@"
        return sign.ljust(len(words) if width is None else width, "_")

    def tips(self, artist: Any, name: str, texts: Sequence[str], *, crisp: bool = False) -> None:
        """What is said of each mark when one points at it; ``crisp``: they lie side by side."""
        artist.set_gid(name)
        self._crisp |= {name} if crisp else set()
        self._tips[name] = [shown(text) for text in texts]

    def labels(self, pane: Any, x: str, y: str) -> None:
        """The titles of the axes."""
        pane.set_xlabel(self.text(x, 12), color=COLOR["muted"], loc="right", labelpad=1)
        pane.xaxis.get_major_locator().set_params(integer=True)
        pane.set_title(self.text(y, 12), color=COLOR["muted"], loc="left", fontsize=9)

    def svg(self, name: str, said: str) -> Html:
        """The picture, with its name and what it shows for those who cannot see it."""
        out = io.BytesIO()
        bare = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        self.figure.savefig(out, format="svg", metadata=bare, transparent=True)
        root = ElementTree.fromstring(out.getvalue())
        self._tip(root)
        _clean(root, name)
        for each in root.iter("text"):
            each.text = _SIGN.sub(lambda found: self._texts[int(found[1])], each.text or "")
        view = root.get("viewBox")
        root.attrib.clear()
        root.attrib.update({"viewBox": view or "", "role": "img", "aria-label": shown(said), "class": "x"})
        return Html(ElementTree.tostring(root, encoding="unicode", short_empty_elements=True))

    def _tip(self, root: ElementTree.Element) -> None:
        for group in root.iter():
            texts = self._tips.get(group.get("id", ""))
            if texts is None:
                continue
            if group.get("id") in self._crisp:
                group.set("shape-rendering", "crispEdges")
            marks = [each for each in group.iter() if _tag(each) == "use"] or [
                each for each in group.iter() if _tag(each) == "path"
            ]
            for mark, text in zip(marks, texts, strict=False):
                ElementTree.SubElement(mark, "title").text = text


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Pictures look alike whatever a user's own settings of matplotlib are."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")
        matplotlib.rcParams.update({k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"})
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _tag(each: ElementTree.Element) -> str:
    return each.tag.rpartition("}")[2]


def _clean(root: ElementTree.Element, name: str) -> None:
    """Plain SVG: no namespaces, no styles, classes for the page's colors, and identities of its own."""
    used = {
        found
        for each in root.iter()
        for item in each.attrib.values()
        for found in re.findall(r"(?:^#|url\(#)([^)]+)", item)
    }
    for parent in list(root.iter()):
        for child in list(parent):
            if _tag(child) in ("metadata", "style"):
                parent.remove(child)
        parent.tag = _tag(parent)
        if parent.tag not in ("text", "title"):
            parent.text = None
        parent.tail = None
        attributes = dict(parent.attrib)
        parent.attrib.clear()
        for key, item in attributes.items():
            key = key.rpartition("}")[2]
            if key == "id":
                if item in used:
                    parent.set("id", f"{name}-{item}")
            elif key == "style":
                _styled(parent, item, name)
            elif key == "href":
                parent.set(key, f"#{name}-{item.removeprefix('#')}")
            elif key == "d":
                parent.set(key, _LETTERS.sub(r"\1", _own(item, name)).strip())
            else:
                parent.set(key, _own(item, name))


def _own(item: str, name: str) -> str:
    """A value that belongs to this picture alone, with no more digits than a screen has points."""
    item = re.sub(r"url\(#", f"url(#{name}-", item)
    return _DIGITS.sub(lambda found: f"{float(found[0]):.2f}", item)


def _styled(each: ElementTree.Element, style: str, name: str) -> None:
    """Declarations as attributes, which a page's policy allows; the page's colors as classes."""
    classes: list[str] = []
    for declaration in style.split(";"):
        key, _, item = (part.strip() for part in declaration.partition(":"))
        if key in ("fill", "stroke") and item in _NAMES:
            classes.append(f"{key[0]}-{_NAMES[item]}")
        elif key in ("font", "font-size"):
            size = _SIZE.search(item)
            each.set("font-size", size[1] if size else "9")
        elif key and not key.startswith("font") and key not in ("stroke-linejoin", "stroke-linecap"):
            each.set(key, _own(item, name))
    if classes:
        each.set("class", " ".join(classes))


def power(exponent: float) -> str:
    """``10⁻³``.

    Example:
        >>> from initcfg._plan.report.html.figures import power
        >>> power(-3)
        '10⁻³'
    """
    return "10" + str(round(exponent)).translate(_POWERS)


def logarithmic(pane: Any, numbers: Sequence[float]) -> None:
    """A logarithmic axis y with whole powers of ten, around these numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # pyright: ignore[reportMissingImports]

    exponents = [math.log10(each) for each in numbers if each > 0 and math.isfinite(each)]
    low, high = math.floor(min(exponents, default=-1)), math.ceil(max(exponents, default=0))
    high = max(high, low + 1)
    pane.set_yscale("log")
    pane.set_ylim(10.0 ** (low - 0.1), 10.0 ** (high + 0.1))
    step = max(1, math.ceil((high - low) / 6))
    pane.yaxis.set_major_locator(FixedLocator([10.0**each for each in range(low, high + 1, step)]))
    pane.yaxis.set_minor_locator(NullLocator())
    pane.yaxis.set_major_formatter(FuncFormatter(lambda x, _: power(math.log10(x))))
    pane.grid(axis="y", color=COLOR["line"], linewidth=0.6)
    pane.set_axisbelow(True)


def framed(title: str, said: str, picture: Html | None, table: Html, words: Wording, *keys: Html) -> Html:
    """A picture with its title, what it shows, and its numbers as a table; or the table alone."""
    numbers = element(
        "details",
        element("summary", words("numbers")),
        element("div", table, class_="over", tabindex="0"),
        open=picture is None,
    )
    caption = together((element("h3", title), element("small", said, class_="muted")))
    return element("figure", element("figcaption", caption), *keys, picture, numbers)

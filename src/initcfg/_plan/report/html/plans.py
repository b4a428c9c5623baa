"""The page of a plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from initcfg._plan.assignment import Assignment
from initcfg._plan.report.html.bars import number
from initcfg._plan.report.html.densities import deviation, laws
from initcfg._plan.report.html.elements import Html, element, together
from initcfg._plan.report.html.figures import COLOR, Drawing, can_draw, framed, logarithmic, settings
from initcfg._plan.report.html.page import facts, whole_page, written
from initcfg._plan.report.html.remarks import (
    is_chinese,
    note_words,
    reason_words,
    value_text,
    warning_words,
)
from initcfg._plan.report.html.tensors import TensorRow, plain_table, tensor_table, value_words
from initcfg._plan.report.html.wording import Wording
from initcfg._plan.report.overridden import overridden_rules
from initcfg._plan.report.table import decided_by, rows
from initcfg._plan.report.words import merge_names
from initcfg.values import Keep, Opaque

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from initcfg._plan.plan import Plan
    from initcfg._plan.report.html.bars import Measured

# Of a model with more tensors, those that are alike share a row: a page stays one that can be read and sent.
MOST_ROWS = 2000
_LISTED = 40
_DECIDED = {
    "rule": "by a rule",
    "place": "by a rule",
    "load": "from a checkpoint",
    "code": "by code",
    "default": "by default",
    "keep": "by default",
}


def plan_page(plan: Plan, path: str | Path | None = None, lang: str = "en") -> str:
    """A whole page for a plan."""
    words = Wording(lang)
    title = words("plan")
    parts = [
        element("h1", title),
        plan_facts(plan, words),
        attention_part(plan, words),
        deviations(plan, words),
        plan_tensors(plan, words),
        rules_part(plan, words),
    ]
    return written(whole_page(title, *parts, words=words), path)


def plan_facts(plan: Plan, words: Wording) -> Html:
    """The totals."""
    items = list(plan.parameters.values())
    of = Counter(_DECIDED[decided_by(plan, item)] for item in items)
    said: dict[str, object] = {
        words("parameters"): f"{len(items):,}",
        words("elements"): f"{sum(item.elements for item in items):,}",
    }
    said |= {words(key): f"{of[key]:,}" for key in dict.fromkeys(_DECIDED.values()) if of[key]}
    if plan.seed is not None:
        said[words("seed")] = str(plan.seed)
    return facts({**said, words("digest"): element("code", plan.digest[:16])})


def plan_tensors(
    plan: Plan, words: Wording, measured: Mapping[str, Measured] | None = None, *, level: str = "h2"
) -> Html:
    """Every tensor of a plan, with the histograms of weights that were ``measured``."""
    items = [*plan.parameters.values(), *plan.buffers.values()]
    others: dict[str, list[str]] = {}
    for alias, name in plan.aliases.items():
        others.setdefault(name, []).append(alias)
    said = None
    if len(items) <= MOST_ROWS:
        made = [
            _row(plan, item, others.get(item.name, []), words, (measured or {}).get(item.name))
            for item in items
        ]
    else:
        said = element("p", words("merged", n=f"{len(items):,}"), class_="muted")
        made = [_merged(plan, row.items, row.value, words) for row in rows(items, full=False)]
    return element("section", element(level, words("tensors")), said, tensor_table(made, words))


def _row(
    plan: Plan, item: Assignment, aliases: Sequence[str], words: Wording, measured: Measured | None
) -> TensorRow:
    remarks = [words("buffer")] if item.name in plan.buffers else []
    remarks += [words("frozen")] if item.frozen else []
    remarks += [words("also called {names}", names=", ".join(aliases))] if aliases else []
    for each in item.shadowed:
        remarks.append(
            words("instead of {value} by {rule}", value=value_words(each.value, words), rule=each.rule)
        )
    remarks += [f"{key} ×{factor}" for key, factor in item.tune.items() if not isinstance(factor, str)]
    if item.role is not None and item.role.roles:
        remarks.append(", ".join(item.role.roles))
    rule, source = rule_of(plan, item, words)
    return TensorRow(item.name, item.shape, item.dtype, item.value, rule, source, tuple(remarks), measured)


def _merged(plan: Plan, items: Sequence[Assignment], text: str, words: Wording) -> TensorRow:
    first = items[0]
    rule, source = rule_of(plan, first, words)
    alike = len({item.shape for item in items}) == 1
    return TensorRow(
        merge_names([item.name for item in items]),
        first.shape if alike else None,
        first.dtype,
        first.value if len({item.value for item in items}) == 1 else Keep(),
        rule,
        source,
        (words("{n} of them", n=len(items)),) if len(items) > 1 else (),
        text=None if isinstance(first.value, Keep) else value_text(text, words.lang),
    )


def rule_of(plan: Plan, item: Assignment, words: Wording) -> tuple[str, str | None]:
    """What decides a tensor, and where that was written."""
    if item.rule is not None:
        note = plan.rules.get(item.rule)
        return item.rule, note.written if note is not None else None
    if isinstance(item.value, Opaque):
        return "", None
    said = words("default") if item.default is None else words("default ({rule})", rule=item.default.rule)
    return said, None


def rules_part(plan: Plan, words: Wording) -> Html | None:
    """Every rule, where it was written, and how many tensors it decides."""
    if not plan.rules:
        return None
    decided = Counter(item.rule for item in (*plan.parameters.values(), *plan.buffers.values()))
    titles = [words(key) for key in ("rule", "entry", "written at", "reaches")]
    lines = [
        (path, element("code", note.cfg), note.written or "", words("{n} tensors", n=decided[path]))
        for path, note in plan.rules.items()
    ]
    table = plain_table(titles, lines[:MOST_ROWS])
    return element("section", element("h2", words("rule and place")), table)


def attention_part(plan: Plan, words: Wording) -> Html | None:
    """What a person should see besides the table."""
    said: list[tuple[str, str]] = [
        (
            "unused rule",
            words("unused said", rule=each.rule, reason=reason_words(each.reason, words.lang), cfg=each.cfg),
        )
        for each in plan.unused
    ]
    said += [
        ("overridden", words("overridden said", rule=rule, by=", ".join(by), cfg=plan.rules[rule].cfg))
        for rule, by in overridden_rules(plan).items()
    ]
    said += [("never written", name) for name in plan.uninitialized]
    said += [("partly written", name) for name in plan.partly_written]
    for load in plan.loads:
        said += [("checkpoint", f"{load.rule}: {load.problem}")] if load.problem else []
        said += (
            [("checkpoint", words("title:", title=load.rule) + warning_words(load.warning, words.lang))]
            if load.warning
            else []
        )
    said += [("note", note_words(note, words.lang)) for note in plan.notes]
    said += [("not called", name) for name in plan.uncalled]
    if not said:
        return None
    lines = [
        element("li", words("title:", title=words(kind)), _sentence(text, words))
        for kind, text in said[:_LISTED]
    ]
    if len(said) > _LISTED:
        lines.append(element("li", words("and {n} more", n=len(said) - _LISTED)))
    return element("section", element("h2", words("attention")), element("ul", *lines))


def _sentence(text: str, words: Wording) -> Html:
    """What a planner says; what has no words in Chinese (errors, remarks of others' code) is English."""
    return element("span", text, lang="en" if words.lang == "en" or not is_chinese(text) else None)


def deviations(plan: Plan, words: Wording) -> Html | None:
    """The picture of a plan: the standard deviation that it gives each tensor."""
    known = []
    for item in (*plan.parameters.values(), *plan.buffers.values()):
        found = laws(item.value, item.shape)
        if found:
            known.append((item, *deviation(found)))
    if not known:
        return None
    titles = [words(key) for key in ("tensor", "value", "mean", "deviation")]
    lines = [
        (item.name, value_words(item.value, words), number(mean), number(std))
        for item, mean, std in known[:MOST_ROWS]
    ]
    picture = _deviations_drawn(known, words) if can_draw() else None
    missing = None if can_draw() else element("p", words("no pictures"), class_="muted")
    table = plain_table(titles, lines, numbers=2)
    title, said = words("scale of tensors"), words("scale of tensors said")
    return together((missing, element("div", framed(title, said, picture, table, words), class_="pictures")))


def _deviations_drawn(known: Sequence[tuple[Assignment, float, float]], words: Wording) -> Html:
    # More dots than points of the screen show nothing more.
    step = -(-len(known) // MOST_ROWS)
    known = known[::step]
    with settings():
        drawing = Drawing(200)
        pane = drawing.panes[0]
        positive = [std for _, _, std in known if std > 0]
        logarithmic(pane, positive)
        floor = pane.get_ylim()[0]
        heights = [max(std, floor) for _, _, std in known]
        colors = [COLOR["accent"] if std > 0 else COLOR["muted"] for _, _, std in known]
        dots = pane.scatter(range(len(known)), heights, s=9, c=colors, linewidths=0, clip_on=False)
        drawing.tips(dots, "dots", [f"{item.name}: {value_words(item.value, words)}" for item, _, _ in known])
        drawing.labels(pane, words("order"), words("deviation"))
        return drawing.svg("deviations", words("scale of tensors said"))

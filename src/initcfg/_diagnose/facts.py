"""What a diagnosis holds: findings, and the measures that they come from; pure data, and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from initcfg._diagnose.sentences import Sentence
from initcfg._plan import Plan, record_to_json
from initcfg.errors import DiagnosisError, as_annotated, plural
from initcfg.values import Misfit, record, short

FORMAT = "initcfg-diagnosis"
VERSION = 1
Level = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
        level: ``"error"``, ``"warning"`` or ``"info"``.
        code: What it is: ``"initial-loss"``.
        where: Module or tensor; else what it is of: ``"the batch"``, ``"the loss"``, ``"the model"``.
        measured: The number that was found.
        threshold: What it was compared with.
        healthy: Its range over models that train well.
        text: What it is, with the numbers.
        why: What it leads to.
        fix: The remedy.
        mend: The remedy as a rule that is appended to the ``init_cfg``, where that is mechanical; or
            ``{"lr": 3e-4}``, a learning rate.
        rule: Path of the rule that gave the weights there.
        source: File and line of that rule.
        value: What it gave: ``"Normal(mean=0, std=1)"``.
        tensors: The tensors concerned.
        more: Further places where the same was found.
        said: The sentences of ``text``, by key and parameters.
        remedy: ``fix`` likewise, where it is not the usual one of this code.
    """

    level: Level
    code: str
    where: str
    measured: float | None
    threshold: float | None
    healthy: tuple[float, float] | None
    text: str
    why: str
    fix: str
    mend: Mapping[str, Any] | None = None
    rule: str | None = None
    source: str | None = None
    value: str | None = None
    tensors: tuple[str, ...] = ()
    more: int = 0
    said: tuple[Sentence, ...] = ()
    remedy: Sentence | None = None

    def __str__(self) -> str:
        place = f" {self.where}" if self.where else ""
        more = f" (and {self.more} more)" if self.more else ""
        what = f"{self.level} {self.code}{place}: {self.text}{more}"
        return f"{what}{self._blame()} {self.fix}{self._rule()}".rstrip()

    def _rule(self) -> str:
        if self.mend is None:
            return ""
        if "lr" in self.mend:
            return f" Try lr={self.mend['lr']:g}."
        inner = ", ".join(f"{key}={item!r}" for key, item in self.mend.items())
        return f" Append to the init_cfg: dict({inner})."

    def _blame(self) -> str:
        if self.value is None:
            return ""
        source = "" if self.source is None else f" ({self.source})"
        tensors = f" {self.tensors[0]}" if self.tensors else ""
        by = "" if self.rule is None else f"{self.rule}{source} gives"
        return f" {by}{tensors} {self.value}." if by else f" {tensors.strip()} is {self.value}{source}."

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@dataclass(frozen=True)
class TensorMeasure:
    """A tensor: its own size, and those of its layer's output and of their gradients.

    Attributes:
        name: Canonical name.
        module: The module that holds it.
        update_ratio: Size of the first step, relative to the weights.
        activation_rms: Of the layer's output.
        activation_gradient_rms: Of the loss's gradient at that output.
        rule: Path of the rule that gave its value, ``source`` where that was written, ``value`` what it is.
        edges: From where to where the histogram goes.
        histogram: Numbers of elements in 32 bins of equal width.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    weight_rms: float
    gradient_rms: float | None = None
    update_ratio: float | None = None
    activation_rms: float | None = None
    activation_gradient_rms: float | None = None
    rule: str | None = None
    source: str | None = None
    value: str | None = None
    edges: tuple[float, float] = (0.0, 0.0)
    histogram: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@dataclass(frozen=True)
class BlockMeasure:
    """The signal behind a block, or behind a layer where there are no blocks: its size and its gradient's."""

    name: str
    rms: float
    gradient_rms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@dataclass(frozen=True)
class AttentionMeasure:
    """How wide each head looks: the entropy of its weights, over the logarithm of the keys that it sees."""

    module: str
    entropies: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@dataclass(frozen=True)
class UnitMeasure:
    """The share of units that are dead (``"relu"``) or saturated (``"tanh"``, ``"sigmoid"``)."""

    module: str
    kind: Literal["relu", "tanh", "sigmoid"]
    share: float

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@dataclass(frozen=True)
class ProbeRun:
    """Training on the one batch: the loss before each step, and after the last."""

    lr: float
    losses: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@dataclass(frozen=True)
class Measures:
    """All that was measured.

    Attributes:
        tensors: In the order of execution.
        blocks: In the order of execution.
        entering: Size of the signal before the first block.
        numbers: By name: ``loss``, ``log_classes``, ``logit_std``, ``gradient_norm``, and more.
        probe: At a third of the learning rate, at it, and at three times it.
    """

    tensors: tuple[TensorMeasure, ...] = ()
    blocks: tuple[BlockMeasure, ...] = ()
    entering: float | None = None
    attention: tuple[AttentionMeasure, ...] = ()
    units: tuple[UnitMeasure, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    probe: tuple[ProbeRun, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return record_to_json(self)


@as_annotated(DiagnosisError)
@dataclass(frozen=True)
class Diagnosis:
    """What an initialization does to a model: findings, and the measures behind them.

    Attributes:
        plan: The plan that the weights come from, if one is known.
        seed: Of what was drawn.
        batch: What the model was run on, in words; whether it is synthetic.
        loss: Which loss it was, in words: ``"the one given"``.
        lr_given: Whether the learning rate is the user's; if not, what depends on it is information.
        dtype: What it was computed in: ``"float32"``.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    measures: Measures
    plan: Plan | None = None
    seed: int = 0
    batch: str = ""
    lr: float = 1e-3
    lr_given: bool = False
    optimizer: str = "adamw"
    steps: int = 8
    dtype: str = "float32"
    seconds: float = 0.0
    loss: str = ""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings with which no training can succeed."""
        return tuple(each for each in self.findings if each.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that slow training down, or may break it."""
        return tuple(each for each in self.findings if each.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not self.errors and not self.warnings

    def __str__(self) -> str:
        counts = (("error", len(self.errors)), ("warning", len(self.warnings)))
        said = ", ".join(plural(count, level) for level, count in counts if count) or "nothing wrong"
        loss = self.measures.numbers.get("loss")
        starts = "" if loss is None else f"; the loss starts at {loss:.4g}"
        lines = [f"{said}{starts}; {self.batch or 'no batch'}, {self.optimizer} at lr {self.lr:g}"]
        return "\n".join([*lines, *map(str, self.findings)])

    # -- a page (report/) ---------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        from initcfg._diagnose.report import diagnosis_short

        return diagnosis_short(self)

    def to_html(self, path: str | Path | None = None, lang: str = "en") -> str:
        """The diagnosis as a page: one HTML file that needs nothing besides; see :meth:`Plan.to_html`.

        It has the findings with their rules and remedies, pictures of the measures, and every tensor with the
        histogram of its weights.
        """
        from initcfg._diagnose.report import diagnosis_page

        return diagnosis_page(self, path, lang)

    # -- loggers ------------------------------------------------------------------------------------

    def log(self, to: Any, *, run_id: str | None = None, step: int = 0) -> None:
        """Log findings as a table, measures as scalars, and the report as an artifact.

        Args:
            to: A ``SummaryWriter`` of TensorBoard, a wandb ``Run``, ``mlflow`` itself (its active run) or an
                ``MlflowClient``, a logger of Lightning, or a list of these.
            run_id: Of an ``MlflowClient``: the run.
            step: Where in the run this belongs; wandb keeps it with its next step.

        Raises:
            DiagnosisError: ``to`` is nothing of these.
        """
        from initcfg._diagnose.loggers import log_diagnosis

        log_diagnosis(self, to, run_id=run_id, step=step)

    # -- JSON ---------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as JSON data."""
        plan = None if self.plan is None else self.plan.to_json()
        return {
            "format": FORMAT,
            "version": VERSION,
            "ok": self.ok,
            **record_to_json(self, without=("plan",)),
            "plan": plan,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Diagnosis:
        """The diagnosis that :meth:`to_json` wrote.

        Raises:
            DiagnosisError: ``data`` is not a diagnosis, or of a version that this package does not know.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise DiagnosisError(
                f'This is not a diagnosis: it lacks "format": "{FORMAT}".',
                fix="Give what initcfg diagnose --json wrote.",
            )
        if data.get("version") != VERSION or type(data["version"]) is not int:
            raise DiagnosisError(
                f"The diagnosis has version {short(data.get('version'))}; this package reads {VERSION}.",
                fix="Use the version of initcfg that wrote it, or a newer one.",
            )
        known = {each.name for each in fields(Diagnosis)} - {"plan"}
        rest = {key: item for key, item in data.items() if key not in ("format", "version", "ok", "plan")}
        plan = data.get("plan")
        made = None if plan is None else Plan.from_json(plan)
        try:
            unknown = rest.keys() - known
            if unknown:
                raise Misfit(f"A diagnosis has no field {short(min(unknown, key=str))}.")
            return record(Diagnosis, rest, plan=made)
        except Misfit as misfit:
            raise misfit.at_the_door(DiagnosisError) from misfit

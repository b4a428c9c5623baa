"""Read the recorded truth: what MMEngine really did to each parameter of real models."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "truth.json.xz"
ABSENT = "<absent>"


@dataclass(frozen=True)
class ClassRecord:
    """A class: the names of its MRO (`lineage`) and direct bases, and what it does about initialization."""

    name: str
    module: str
    lineage: tuple[str, ...]
    bases: tuple[str, ...]
    overrides_init_weights: bool
    is_base_module: bool


@dataclass(frozen=True)
class ModuleRecord:
    """A module. `init_cfg` is `ABSENT` if it has no such attribute."""

    name: str
    cls: ClassRecord
    init_cfg: Any
    params: tuple[tuple[str, tuple[int, ...]], ...]
    none_params: tuple[str, ...]
    override_targets: dict[str, str]
    marks: dict[str, Any]


@dataclass(frozen=True)
class ParameterRecord:
    """A parameter and who wrote it last. The helper is of initializers only.

    Attributes:
        name: Qualified name.
        source: `initializer`, `user_init_weights`, `torch_default` or `construct`.
        event: The function: `kaiming_normal_`; None if an operation stands alone.
        args: Its resolved arguments.
        op: The tensor operation below it.
        op_args: The numbers that the operation got.
        helper: The function of MMEngine above it: `kaiming_init`.
        helper_args: All arguments of that, the bias too.
        tied_to: An earlier name of the same parameter.
    """

    name: str
    source: str
    event: str | None = None
    args: Any = None
    op: str | None = None
    op_args: Any = None
    helper: str | None = None
    helper_args: Any = None
    tied_to: str | None = None


@dataclass(frozen=True)
class ModelRecord:
    """A model. `order` holds all module names, `aliases` those that are another name of a module."""

    file: str
    package: str
    config: str
    variant: str
    order: tuple[str, ...]
    modules: dict[str, ModuleRecord]
    aliases: dict[str, str]
    params: tuple[ParameterRecord, ...]

    @cached_property
    def overriding(self) -> frozenset[str]:
        """Names of the modules whose class has an `init_weights` of its own, aliases included."""
        own = {name for name, module in self.modules.items() if module.cls.overrides_init_weights}
        return frozenset(own | {alias for alias, name in self.aliases.items() if name in own})

    def under_user_code(self, parameter: ParameterRecord) -> bool:
        """Whether a module above has an `init_weights` of its own, by whichever name one looks."""
        names = [parameter.name, *([parameter.tied_to] if parameter.tied_to else [])]
        return any(above in self.overriding for name in names for above in _above(name))


def _above(name: str) -> list[str]:
    pieces = name.split(".")[:-1]
    return [".".join(pieces[:count]) for count in range(len(pieces) + 1)]


def load(path: Path = DATA) -> list[ModelRecord]:
    """All recorded models."""
    data = json.loads(lzma.decompress(path.read_bytes()))
    classes = [
        ClassRecord(name, module, tuple(mro), tuple(bases), overrides, base)
        for name, module, mro, bases, overrides, base in data["classes"]
    ]
    contents = [
        (tuple((name, tuple(shape)) for name, shape in params), tuple(nones))
        for params, nones in data["contents"]
    ]
    return [_model(each, classes, data["init_cfgs"], contents, data["outcomes"]) for each in data["models"]]


def _model(
    each: dict[str, Any],
    classes: list[ClassRecord],
    init_cfgs: list[Any],
    contents: list[Any],
    outcomes: list[list[Any]],
) -> ModelRecord:
    aliases = each["alias_of"]
    own = [name for name in each["modules"] if name not in aliases]
    modules = {
        name: ModuleRecord(
            name,
            classes[cls],
            init_cfgs[init_cfg],
            *contents[content],
            override_targets=each["overrides"].get(name, {}),
            marks=each["marks"].get(name, {}),
        )
        for name, cls, init_cfg, content in zip(
            own, each["classes"], each["init_cfgs"], each["contents"], strict=True
        )
    }
    names = [
        f"{name}.{parameter}" if name else parameter
        for name in each["modules"]
        for parameter, _shape in modules[aliases.get(name, name)].params
    ]
    params = tuple(
        ParameterRecord(name, *outcomes[outcome], tied_to=each["tied_to"].get(name))
        for name, outcome in zip(names, each["outcomes"], strict=True)
    )
    return ModelRecord(
        each["file"],
        each["package"],
        each["config"],
        each["variant"],
        tuple(each["modules"]),
        modules,
        aliases,
        params,
    )

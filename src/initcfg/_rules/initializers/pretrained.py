"""The Pretrained initializer: its arguments, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from initcfg._config.files import PlainArguments
from initcfg._model import doors
from initcfg._rules.expressions import Endless, Expression, compiled
from initcfg._rules.initializers.adapt import Permission, parse_adapt
from initcfg._rules.initializers.arguments import one_of, plain_data
from initcfg._rules.initializers.base import INITIALIZERS
from initcfg._rules.patterns import Pattern, parse_patterns
from initcfg.errors import ArgumentError, PatternError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from initcfg._rules.initializers.derivation import Derivation

Rename = tuple[Expression, str]


@INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit(PlainArguments):
    """Parameters and buffers from a checkpoint; beats every other rule of its module and below.

    Args:
        checkpoint: Path or URL of a checkpoint; in code also a state_dict, a module that has one, or a
            function that gives one.
        prefix: Take only the keys that begin with it, without it: ``"backbone."``.
        map_location: Accepted as the original does; tensors are copied to their parameter's device.
        rename: Regular expressions and what replaces what they match, in their order, applied to the keys
            without the prefix: a dict, or a list of pairs. Several keys under one name are joined.
        include: Patterns of the module's tensors, or modules in it, to load; all if None.
        exclude: Patterns of those to leave to the next rule.
        ignore: Patterns of tensors that may be missing or not fit, a new head for instance, and of keys that
            may be left over: nobody is warned of them.
        strict: ``"none"``; ``"model"``: every tensor of the module must be loaded; ``"all"``: and every key
            used.
        sha256: Digest that the file must have.
        offline: Fetch nothing.
        part: Which of several states in the file: ``"state_dict_ema"``.
        finite: NaN and infinity are an error, before anything is written.
        copy: If False, tensors lie in the file's own pages, mapped privately, where type and order are the
            same; the others are copied. Then the file must stay what it is: nobody may save to it.
        adapt: What may be done to tensors that do not fit: ``"auto"``, kinds, or a dict from patterns to
            kinds.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> state = {"net.weight": torch.ones(2, 2), "net.bias": torch.zeros(2)}
        >>> model = nn.Linear(2, 2)
        >>> _ = initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state, prefix="net."))
        >>> model.weight.tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    # What a plan calls the initializer.
    name: ClassVar[str] = "Pretrained"

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | Mapping[str, Any] | Callable[[], Any],
        prefix: str | None = None,
        map_location: Any = "cpu",
        *,
        rename: Mapping[str, str] | Sequence[Sequence[str]] | None = None,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        ignore: str | Sequence[str] | None = None,
        strict: str = "none",
        sha256: str | None = None,
        offline: bool | None = None,
        part: str | None = None,
        finite: bool = False,
        copy: bool = True,
        adapt: Any = None,
    ) -> None:
        if isinstance(checkpoint, os.PathLike):
            checkpoint = os.fspath(checkpoint)
        # A class is callable, and what it makes has no weights that anybody means.
        usable = callable(checkpoint) and not (
            isinstance(checkpoint, type) and hasattr(checkpoint, "state_dict")
        )
        if not isinstance(checkpoint, (str, Mapping)) and not usable:
            raise ArgumentError(
                f"checkpoint must be a path, a URL, a state_dict or a function, not {checkpoint!r}.",
                fix="Write checkpoint='path/to/file.pth'.",
            )
        for name, text in (("prefix", prefix), ("sha256", sha256), ("part", part)):
            if text is not None and not isinstance(text, str):
                raise ArgumentError(f"{name} must be a string, not {text!r}.", fix=f"Write {name}='...'.")
        if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
            raise ArgumentError(
                f"sha256 is 64 hexadecimal digits, not {sha256!r}.", fix="Give the output of sha256sum."
            )
        for name, switch in (("finite", finite), ("copy", copy), ("offline", offline)):
            if not isinstance(switch, bool) and not (name == "offline" and switch is None):
                raise ArgumentError(
                    f"{name} must be True or False, not {switch!r}.",
                    fix=f"Write {name}=True, or leave it out.",
                )
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location
        self.rename: tuple[Rename, ...] = _renames(rename)
        self.include: tuple[Pattern, ...] = parse_patterns("include", include)
        self.exclude: tuple[Pattern, ...] = parse_patterns("exclude", exclude)
        self.ignore: tuple[Pattern, ...] = parse_patterns("ignore", ignore)
        self.strict = one_of("strict", strict, ("none", "model", "all"))
        self.sha256 = None if sha256 is None else sha256.lower()
        self.offline = offline
        self.part = part
        self.finite = finite
        self.copy = copy
        self.adapt: tuple[Permission, ...] = parse_adapt(adapt)
        self._written = {
            "prefix": prefix,
            "rename": [[pattern.pattern, text] for pattern, text in self.rename] or None,
            "include": [pattern.text for pattern in self.include] or None,
            "exclude": [pattern.text for pattern in self.exclude] or None,
            "ignore": [pattern.text for pattern in self.ignore] or None,
            "strict": None if strict == "none" else strict,
            "sha256": self.sha256,
            "offline": offline,
            "part": part,
            "finite": finite or None,
            "copy": None if copy else False,
            "adapt": plain_data(adapt),
        }
        self._state: Any = None

    @property
    def in_code(self) -> bool:
        """Whether the checkpoint is an object, which has no name to open it by again."""
        return not isinstance(self.checkpoint, str)

    @property
    def label(self) -> str:
        """How messages call the checkpoint."""
        if isinstance(self.checkpoint, str):
            return self.checkpoint
        if isinstance(self.checkpoint, Mapping):
            return "a state_dict"
        if hasattr(self.checkpoint, "state_dict"):
            return f"the state_dict of a {type(self.checkpoint).__name__}"
        return f"{getattr(self.checkpoint, '__qualname__', type(self.checkpoint).__name__)}()"

    def state(self) -> Any:
        """The state_dict, path or URL; a function is called once."""
        if isinstance(self.checkpoint, (str, Mapping)):
            return self.checkpoint
        if self._state is None:
            # A module gives its own.
            self._state = getattr(self.checkpoint, "state_dict", self.checkpoint)()
        return self._state

    def derivation(
        self,
        module: nn.Module,
        here: Mapping[str, torch.Tensor],
        there: Mapping[str, tuple[int, ...]],
    ) -> Derivation | None:
        """What tensors are made of that are not simply those of their names; None if all of them are.

        Args:
            module: What is loaded.
            here: Its tensors, by their names in its ``state_dict``.
            there: Shapes of the checkpoint's tensors, by the names that they have here.
        """
        return None

    def arguments(self) -> dict[str, Any]:
        """The arguments by name, as JSON can hold them."""
        given = {name: item for name, item in self._written.items() if item is not None}
        return {"checkpoint": self.label, **given}

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module`` now, as the original does."""
        doors.call_initializer(self, module)


def _renames(written: Any) -> tuple[Rename, ...]:
    pairs = list(written.items()) if isinstance(written, Mapping) else [] if written is None else written
    if not isinstance(pairs, (list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in pairs
    ):
        raise ArgumentError(
            f"rename must be a dict or a list of pairs of strings, not {written!r}.",
            fix=r"Write rename=[(r'^encoder\.', 'backbone.')].",
        )
    found: list[Rename] = []
    for text, replacement in pairs:
        try:
            pattern = compiled(text)
            # The replacement is read even where nothing matches.
            pattern.subn(replacement, "")
        except (re.error, IndexError, Endless) as error:
            raise PatternError(f"rename: {text!r} → {replacement!r} is not valid: {error}.") from error
        found.append((pattern, replacement))
    return tuple(found)

"""What each adaptation that a rule allows did: one that is asked for by its kind must do something."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from initcfg._plan.pretrained.destinations import Destination
from initcfg._plan.pretrained.fitting import fit, hint, hint_text
from initcfg._plan.pretrained.positions import is_of_a_layer, is_of_picture, means_positions
from initcfg._rules.initializers import Permission, PretrainedInit
from initcfg.errors import CheckpointError

Shape = tuple[int, ...]

_FOR = {
    "transpose": "matrices that lie on their side",
    "inflate": "convolutions that differ in their depth alone",
    "channels": "convolutions that differ in their input channels alone",
    "patch": "convolutions that differ in their patches alone",
    "resize": "positions that differ in their number alone",
    "select": "rows that the checkpoint has",
    "shrink": "tensors that have more rows in the checkpoint",
    "grow": "tensors that have fewer rows in the checkpoint",
    "qkv": "projections of attention, joined or apart",
    "stack_experts": "experts, stacked or one by one",
    "names": "other names that are known for the same tensor",
    "merge_lora": "adapters",
    "dtype": "tensors of another data type",
    "dequantize": "quantized tensors",
}


@dataclass(frozen=True)
class Lack:
    """What a kind of adaptation would make a tensor from is there in part: which is not, in words."""

    kind: str
    text: str


class Permits:
    """The permissions of one rule, and what became of them."""

    def __init__(self, initializer: PretrainedInit) -> None:
        self._initializer = initializer
        self._acted: set[int] = set()
        self._lacking: list[tuple[Permission, Destination, str]] = []
        # By permission: tensors that it is for and that it does not make fit; None: not in the checkpoint.
        self._refused: dict[int, list[tuple[Destination, Shape | None]]] = {}

    def act(self, permissions: Iterable[Permission], kind: str | None = None) -> bool:
        """These (of that kind) did what they are for; whether there are any."""
        found = {id(each) for each in permissions if kind in (None, each.kind)}
        self._acted |= found
        return bool(found)

    def refuse(self, permissions: Sequence[Permission], here: Destination, there: Shape | None) -> None:
        """A tensor stays unfit, or is not there, with all that is allowed for it."""
        for each in permissions:
            if each.pattern is not None or (there is not None and _is_meant(each, here, there)):
                self._refused.setdefault(id(each), []).append((here, there))

    def refuse_part(self, permissions: Sequence[Permission], here: Destination, lack: Lack) -> None:
        """Of what an adaptation would make a tensor from, some is not there."""
        asked = [each for each in permissions if each.kind == lack.kind and not each.auto]
        self._lacking += [(each, here, lack.text) for each in asked]

    def check(self, loaded: Collection[int], left: Sequence[str]) -> tuple[list[str], list[str]]:
        """What was asked for and did nothing, and what ``"auto"`` did not; CheckpointError for what may not.

        Args:
            loaded: Identities of the entries that have a value: some under another of their names.
            left: Names of tensors that stay as they are, though nobody says that they may.
        """
        for permission, here, text in self._lacking:
            if here.name in left:
                raise CheckpointError(
                    f"{_text(permission)} cannot make {here.name!r}: {text}.",
                    parameter=here.name,
                    shape=here.shape,
                    fix="Give the checkpoint that has all of them, or say by ignore that it may be missing.",
                )
        refused = {
            key: [(here, there) for here, there in found if id(here.entry) not in loaded]
            for key, found in self._refused.items()
        }
        idle = [each for each in self._initializer.adapt if id(each) not in self._acted]
        for each in idle:
            if not each.auto and refused.get(id(each)):
                raise self._error(each, *refused[id(each)][0])
        explicit = dict.fromkeys(_text(each) for each in idle if not each.auto and each.kind != "drop")
        why = f"it has nothing for {left[0]}" if left else "what it is for fits as it is"
        told = [f"{text} did nothing: {why}" for text in explicit]
        drops = dict.fromkeys(_text(each) for each in idle if each.kind == "drop")
        told += [f"{text} did nothing: the checkpoint has none of it" for text in drops]
        remarks = []
        auto = [each for each in self._initializer.adapt if each.auto]
        if auto and len([each for each in idle if each.auto]) == len(auto):
            names = [here.name for each in auto for here, _ in refused.get(id(each), ())]
            why = f"it has nothing for {names[0]}" if names else "no tensor needs it"
            remarks.append(f"adapt='auto' did nothing: {why}")
        return told, remarks

    def _error(self, permission: Permission, here: Destination, there: Shape | None) -> CheckpointError:
        head = f"{_text(permission)} does nothing"
        if there is None:
            return CheckpointError(
                f"{head}: {self._initializer.label!r} holds no {here.name!r}.",
                parameter=here.name,
                shape=here.shape,
                fix="Give prefix or rename so that it is found, or remove the adaptation.",
            )
        kind = permission.kind
        why = f"{here.name!r} is {here.shape} here and {there} there, and {kind!r} is for {_FOR[kind]}"
        fix = "Correct it, or exclude the tensor."
        if kind == "resize" and is_of_a_layer(here):
            why = f"{here.name!r} is of a {type(here.module).__name__}, and 'resize' is for positions"
            if (other := hint(here, there)) is not None:
                fix = f"{hint_text(here.name, other)}."
        elif kind == "resize" and here.shape[-1:] == there[-1:]:
            why += ", whose size is known: here it is not"
            if is_of_picture(here):
                fix = (
                    "Say the grids: dict(type='resize', old_size=[HEIGHT, WIDTH], size=[HEIGHT, WIDTH], "
                    "prefix_tokens=N); of positions in a line, old_size=[N] and size=[N]."
                )
            else:
                fix = "Correct size, old_size and prefix_tokens: together they are the rows."
        elif permission.pattern is None and fit(here, there, [_named(permission)]):
            why = f"without a name it is not used for {here.name!r}"
            fix = f"Write adapt={{{here.name!r}: {kind!r}}}."
        elif (other := hint(here, there)) is not None and other != repr(kind):
            fix = f"{hint_text(here.name, other)}."
        return CheckpointError(f"{head}: {why}.", parameter=here.name, shape=here.shape, fix=fix)


def _is_meant(permission: Permission, here: Destination, there: Shape) -> bool:
    """Whether a kind that is tied to no name was meant for a tensor, as far as can be seen."""
    if permission.kind == "resize" and means_positions(here.name):
        return True
    return permission.auto or fit(here, there, [_named(permission)]) is not None


def _named(permission: Permission) -> Permission:
    """The same as if a name had declared it."""
    return Permission(permission.kind, permission.pattern, permission.options, declared=True)


def _text(permission: Permission) -> str:
    kind = "'auto'" if permission.auto else repr(permission.kind)
    if permission.pattern is None:
        return f"adapt={kind}"
    return f"adapt={{{permission.pattern.text!r}: {kind}}}"

"""Tensors without names, such as the averages of torch_ema: matched by the order of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from initcfg._plan.pretrained.destinations import Destination
from initcfg._plan.pretrained.keys import NamedKeys
from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import CheckpointError, plural

Shape = tuple[int, ...]


def by_order(
    initializer: PretrainedInit,
    keys: Sequence[str],
    destinations: Mapping[str, Destination],
    shape_of: Callable[[str], Shape],
) -> NamedKeys:
    """The keys of a list by the names of the parameters at their places.

    Such a list holds all parameters, or those that were trained. It is taken for one of these only if their
    number and all shapes agree.
    """
    if initializer.prefix or initializer.rename:
        raise CheckpointError(
            f"The tensors of {initializer.label!r} have no names, which prefix or rename could change.",
            fix="Leave them out; the tensors are matched by the order of the module's parameters.",
        )
    # A tied parameter is in the list once.
    distinct = {id(each.entry): each for each in reversed([*destinations.values()]) if not each.entry.buffer}
    whole = [each for each in destinations.values() if distinct.get(id(each.entry)) is each]
    trained = [each for each in whole if each.entry.tensor.requires_grad]
    shapes = [shape_of(key) for key in keys]
    for chosen in (whole, trained):
        if [each.shape for each in chosen] == shapes:
            pairs = tuple((key, each.name) for key, each in zip(keys, chosen, strict=True))
            return NamedKeys({name: (key,) for key, name in pairs}, pairs)
    problem = (
        f"{plural(len(shapes), 'tensor')} without names, and the module {plural(len(whole), 'parameter')}"
    )
    if len(shapes) == len(whole):
        place = next(n for n, each in enumerate(whole) if each.shape != shapes[n])
        problem += f": number {place} is {shapes[place]} there and {whole[place].shape} here"
    raise CheckpointError(
        f"The checkpoint {initializer.label!r} has {problem}.",
        fix="Give the model that the averages are of, or a checkpoint that has names.",
    )

"""A checkpoint must be what it was when the plan was made: its files, its digest, and the types in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch

from initcfg._checkpoints import OpenedCheckpoint
from initcfg._plan import Assignment, Load
from initcfg.errors import CheckpointError
from initcfg.values import Adapted, FromCheckpoint, Hooked, dtype_name


def check_files(loads: Iterable[Load], opened: OpenedCheckpoint) -> None:
    """The files are those that the plan was made with, where it was made in this process."""
    for load in loads:
        # One whose digest is known may lie in another file.
        if load.state is None or (load.sha256 is not None and opened.sha256 is not None):
            continue
        try:
            file = load.state.changed(opened.state)
        except OSError as error:
            raise _changed(load, f"it cannot be read any more: {error.strerror or error}") from error
        if file is not None:
            raise _changed(load, "another file lies there, or it was written to", where=file)


def check_digest(load: Load, digest: str | None) -> None:
    """The digest is the one that the plan knows, if it knows one."""
    if load.sha256 and digest and load.sha256 != digest:
        raise _changed(load, f"its SHA-256 is {digest}, and was {load.sha256}")


def _changed(
    load: Load, how: str, where: str | None = None, item: Assignment | None = None
) -> CheckpointError:
    """The error; ``item``: the tensor at which it shows."""
    return CheckpointError(
        f"The checkpoint {load.source!r} has changed since the plan was made: {how}.",
        where=where or load.rule,
        parameter=None if item is None else item.name,
        shape=None if item is None else item.shape,
        fix="Plan again.",
    )


class LoadedTypes:
    """The types of tensors in checkpoints: those that the plan's accounts say, in JSON, too."""

    def __init__(self) -> None:
        self._found: dict[str, Counter[tuple[str, str]]] = {}
        self._tensors: Counter[str] = Counter()

    def note(
        self,
        load: Load,
        item: Assignment,
        value: FromCheckpoint,
        tensor: torch.Tensor,
        opened: OpenedCheckpoint,
    ) -> None:
        """Count the types of what a tensor is read from.

        Raises:
            CheckpointError: The plan knows none that becomes this type here.
        """
        self._tensors[load.source] += 1
        scaled = isinstance(value, Adapted) and any(step[0] == "dequantize" for step in value.steps)
        # Which types these have is a matter of the hooks, and of what scales they have.
        if isinstance(value, Hooked) or scaled:
            return
        here = dtype_name(tensor.dtype)
        pairs = {(opened.info(key).dtype, here) for key in value.keys} - {(here, here)}
        planned = {(there, to) for there, to, _ in load.converted}
        for there, _ in sorted(pairs - planned):
            raise _changed(load, f"{value.key!r} is {there} there now", where=item.rule, item=item)
        self._found.setdefault(load.source, Counter()).update(pairs)

    def check(self, loads: Iterable[Load]) -> None:
        """Of a checkpoint all of which is loaded, as many tensors change their type as was planned."""
        for load in loads:
            found = self._found.get(load.source)
            if found is None or self._tensors[load.source] != load.loaded or any(load.hooks):
                continue
            for there, here, count in load.converted:
                if found[there, here] < count:
                    raise _changed(
                        load, f"{count} of its tensors were {there}, and {found[there, here]} are now"
                    )

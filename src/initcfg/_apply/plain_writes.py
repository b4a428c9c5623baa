"""Plain writes: whole tensors of independent numbers, queued many at once, as most of most models are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from initcfg._apply.filling import Filler
from initcfg._model import Entry
from initcfg._plan import Write
from initcfg._stream.writing import Batch

Done = Callable[[Sequence[Entry], Sequence[str], Sequence[Write]], None]
"""Is told of tensors that are queued, their names, and their writes."""


def queue_plain(
    filler: Filler,
    names: Sequence[str],
    writes: Sequence[Write],
    entries: Mapping[str, Entry],
    plain: Collection[int],
    numbered: Mapping[str, str],
    done: Done,
) -> Iterator[tuple[str, Write]]:
    """Queue the writes, in order; those that are to be done one by one are yielded when it is their turn.

    Args:
        names: Of the tensors that are written.
        writes: Theirs. Those that differ in their names alone are one object.
        plain: The ids of tensors that are each one run of memory.
        numbered: The names under which numbers are drawn, where these are others.
    """
    found = [entries.get(name) for name in names]
    told = [
        None
        if entry is None or id(entry.tensor) not in plain or entry.shape != write.shape
        else (id(write), entry.tensor.dtype)
        for entry, write in zip(found, writes, strict=True)
    ]
    distinct = dict(zip(told, writes, strict=True))
    known = {
        key: None if key is None else filler.kind(write.value, key[1]) for key, write in distinct.items()
    }
    kinds = [known[key] for key in told]
    if None in kinds:
        runs = [(alone, len(list(run))) for alone, run in itertools.groupby(kinds, lambda kind: kind is None)]
    else:
        runs = [(False, len(kinds))]
    start = 0
    for alone, count in runs:
        stop = start + count
        if alone:
            yield from zip(names[start:stop], writes[start:stop], strict=True)
        elif count:
            here, theirs = names[start:stop], writes[start:stop]
            queued = [entry for entry in found[start:stop] if entry is not None]
            drawn = [numbered.get(name, name) for name in here] if numbered else here
            kinds_here = [kind for kind in kinds[start:stop] if kind is not None]
            batch = Batch([entry.tensor for entry in queued], kinds_here, drawn)
            first = 0
            while first < count:
                last = filler.fill_batch(batch, first)
                done(queued[first:last], here[first:last], theirs[first:last])
                if last < count:
                    # It makes a call of the kernel full.
                    yield here[last], theirs[last]
                first = last + 1
        start = stop

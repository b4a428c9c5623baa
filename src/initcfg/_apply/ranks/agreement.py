"""The ranks of a job agree on what they are about to write, and fail together.

They speak through the key-value store of ``torch.distributed``, not through a collective of a backend:
a store needs no device, waits no longer than it is told to, and serves any set of ranks. In each set,

- the first rank leads: it opens a round, and the others join it;
- each says what it would write; the leader compares, and answers with the seed or with what differs;
- each writes, says that it is done, and leaves when all are, also those of other sets that ranks in several
  sets connect with its own.

Meanwhile a thread of each rank says every 2 s that it lives, looks after the leader and its neighbour,
and hears of failures; who waits for something looks for failures, too.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed

from initcfg._apply.ranks.disagreement import differing, disagreement, groups_of
from initcfg._apply.ranks.heartbeat import UNHEARD, Line, StoreGoneError
from initcfg._apply.ranks.rounds import Failure, Round, failed, gone, late, silent, unmet
from initcfg._stream import number

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Seconds to wait for a rank that does not come, if nothing else is said.
_TIMEOUT = 300.0
# Seconds that others wait longer than the leader, who knows best why.
_GRACE = 15.0
# Seconds that the rank whose process holds the store stays, so that the others can read the last word.
_LINGER = 5.0
# Ranks that are asked for details, where plans differ.
_ASKED = 5

_Found = TypeVar("_Found")


class Agreement:
    """What the ranks of some sets do between its beginning and its end, all do or none.

    Every rank must make the same agreements in the same order. Where there is nobody to agree with (no
    set of two ranks or more, no process group, a fake one) nothing is exchanged.

    Args:
        rank_sets: Sets of global ranks, each given in the same order on each of its ranks; the first of a
            set leads it. This rank is in each.
        timeout: Seconds to wait for a rank that lives, but does not come; by default
            ``INITCFG_RANK_TIMEOUT``, or 300. While others write, there is no limit, as long as they show that
            they live.
        store: The store, given with this ``rank``; by default, that of the default process group.

    Example:
        >>> from initcfg._apply.ranks.agreement import Agreement
        >>> with Agreement([(0,)]) as agreement:
        ...     agreement.on({"plan": "2c26b4"}, seed=None, draw=lambda: 7)
        7
    """

    def __init__(
        self,
        rank_sets: Sequence[Sequence[int]] = (),
        *,
        timeout: float | None = None,
        store: Store | None = None,
        rank: int | None = None,
    ) -> None:
        self._rounds: list[Round] = []
        self._line: Line | None = None
        self._failure: Failure | None = None
        # How often ``on`` was called.
        self._steps = 0
        sets = dict.fromkeys(tuple(ranks) for ranks in rank_sets if len(set(ranks)) > 1)
        if sets and store is None:
            store, rank = _default_store()
        if not sets or store is None or rank is None:
            return
        if any(rank not in ranks for ranks in sets):
            raise ValueError(f"rank {rank} is not in every set of {list(sets)}")
        self._store, self._rank = store, rank
        self._timeout = _timeout(timeout)
        # One order on all ranks, so that no two sets wait for each other; the largest gives the seed.
        self._rounds = [Round(ranks, rank) for ranks in sorted(sets, key=lambda ranks: (-len(ranks), ranks))]

    @property
    def alone(self) -> bool:
        """Whether there is nobody to agree with."""
        return not self._rounds

    def __enter__(self) -> Agreement:
        if self._rounds:
            self._line = Line(self._store, self._beat)
            try:
                # Those that this rank leads, first: others wait for them.
                for round_ in sorted(self._rounds, key=lambda round_: round_.leader != self._rank):
                    self._wait(round_, round_.join, self._timeout, lambda _, round_=round_: [round_.leader])
                if self._line.sign == UNHEARD:
                    self._call(self._sign)
            except BaseException as error:
                self._leave(error)
                raise
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._line is None:
            return
        try:
            if error is None:
                self._finish()
        except BaseException as own:
            error = own
            raise
        finally:
            self._leave(error)

    def on(
        self,
        facts: Mapping[str, str],
        *,
        seed: int | None,
        draw: Callable[[], int],
        details: Callable[[], Mapping[str, str]] | None = None,
    ) -> int:
        """The seed, if all ranks have the same facts and the same seed.

        Args:
            facts: What must be the same: ``initcfg``, ``stream``, ``plan``, ``rng``.
            seed: The seed; None for that of the first rank's ``draw``.
            draw: Draws a seed; called on every rank if ``seed`` is None.
            details: Called where ``plan`` differs: names of tensors and digests of what they get.
        """
        drawn = draw() if seed is None else seed
        agreed: int | None = None
        self._steps += 1
        for round_ in self._rounds:
            said = {"facts": {**facts, "seed": seed}, "drawn": drawn, "agreed": agreed}
            self._say(round_, "facts", said)
            agreed = (
                self._lead(round_, details) if round_.leader == self._rank else self._follow(round_, details)
            )
        return drawn if agreed is None else agreed

    def tell(self, ranks: Sequence[int], said: Any) -> dict[int, Any]:
        """What each of a set of ranks says, once all have come here, however long they compute.

        The set is one of those that the agreement was made with, in any order; ``said`` goes through JSON.
        All stop where one of them is done and has not come: it never will.
        """
        round_ = next(each for each in self._rounds if set(each.ranks) == set(ranks))
        round_.told += 1
        topic = f"told {round_.told}"
        self._call(lambda store: round_.say(store, 0, topic, said))
        keys = {rank: round_.key(0, topic, rank) for rank in round_.ranks}
        return self._read(round_, keys, None, told=True)

    def check(self) -> None:
        """Costs nothing: to be called now and then in what takes long."""
        if self._failure is not None:
            raise self._failure.error()

    def _lead(self, round_: Round, details: Callable[[], Mapping[str, str]] | None) -> int:
        said = self._collect(round_, "facts", round_.ranks)
        facts = {rank: one["facts"] for rank, one in said.items()}
        names = differing(facts)
        if names:
            plans: dict[int, Mapping[str, str]] = {}
            if "plan" in names and details is not None:
                groups = groups_of({rank: one.get("plan") for rank, one in facts.items()})
                asked = [ranks[0] for ranks in groups.values()][:_ASKED]
                self._say(round_, "answer", {"details": asked})
                self._say(round_, "details", dict(details()))
                plans = self._collect(round_, "details", asked)
            self._stop(Failure(*disagreement(facts, plans)))
        # Where it was drawn, some may have agreed on it in another set already.
        seeds = {rank: one["agreed"] for rank, one in said.items() if one["agreed"] is not None}
        if len(set(seeds.values())) > 1:
            text, _ = disagreement({rank: {"seed": seed} for rank, seed in seeds.items()}, {})
            self._stop(Failure(text, "Each was drawn in another set of ranks: give all the same seed."))
        seed = next(iter(seeds.values()), said[self._rank]["drawn"])
        self._say(round_, "answer", {"seed": seed})
        return seed

    def _follow(self, round_: Round, details: Callable[[], Mapping[str, str]] | None) -> int:
        answer = self._collect(round_, "answer", [round_.leader], _GRACE)[round_.leader]
        if "seed" in answer:
            return answer["seed"]
        if self._rank in answer["details"]:
            self._say(round_, "details", {} if details is None else dict(details()))
        # The leader says what differs, and all stop: nothing else comes.
        return self._collect(round_, "end", [round_.leader], _GRACE)[round_.leader]

    def _say(self, round_: Round, topic: str, said: Any) -> None:
        self._call(lambda store: round_.say(store, self._steps, topic, said))

    def _collect(self, round_: Round, topic: str, ranks: Sequence[int], grace: float = 0.0) -> dict[int, Any]:
        """What each of the ranks says on a topic."""
        keys = {rank: round_.key(self._steps, topic, rank) for rank in ranks}
        return self._read(round_, keys, self._timeout + grace)

    def _read(
        self, round_: Round, keys: Mapping[int, str], limit: float | None, *, told: bool = False
    ) -> dict[int, Any]:
        """What each rank says under its key, within so many seconds; ``told``: before it is done."""

        def collected(store: Store) -> list[bytes] | None:
            if told:
                self._check_none_is_done(store, round_, keys)
            return store.multi_get(list(keys.values())) if store.check(list(keys.values())) else None

        def silent_ranks(store: Store) -> list[int]:
            return [rank for rank, key in keys.items() if not store.check([key])]

        found = self._wait(round_, collected, limit, silent_ranks)
        return {rank: json.loads(text) for rank, text in zip(keys, found, strict=True)}

    def _check_none_is_done(self, store: Store, round_: Round, keys: Mapping[int, str]) -> None:
        # First who is done: by then, it has said all that it will say.
        done = [rank for rank in keys if store.check([round_.key("done", rank)])]
        missing = [rank for rank in done if not store.check([keys[rank]])]
        if missing:
            self._tell(store, unmet(missing))

    def _finish(self) -> None:
        """Wait until all are done."""
        bridges = len(self._rounds) > 1

        def done(store: Store) -> None:
            for round_ in self._rounds:
                if bridges:
                    store.add(round_.key("bridges"), 1)
                store.set(round_.key("done", self._rank), "")
                store.add(round_.key("done"), 1)

        self._call(done)
        # Who has agreed is here, and writes: that may take long.
        limit = None if self._steps else self._timeout
        for round_ in self._rounds:
            others = [rank for rank in round_.ranks if rank != self._rank]
            all_done = partial(round_.all, what="done")
            self._wait(round_, all_done, limit, lambda _, others=others: others)
        if self._call(lambda store: any(store.add(each.key("bridges"), 0) for each in self._rounds)):
            self._finish_with_others(limit)

    def _finish_with_others(self, limit: float | None) -> None:
        """Wait for the ranks that this one knows only by way of those that are in several sets.

        Each says whom it knows, and knows at the next step whom these know. Where nobody new comes, these
        are all: and each of them was done before it said anything.
        """
        known = {rank for round_ in self._rounds for rank in round_.ranks}
        for step in itertools.count(1):
            self._say_known(step, known)
            heard = set(known)
            for round_ in self._rounds:
                keys = {rank: round_.key(0, f"known {step}", rank) for rank in round_.ranks}
                heard.update(*self._read(round_, keys, limit).values())
            if heard == known:
                # Others may need one step more.
                self._say_known(step + 1, known)
                return
            known = heard

    def _say_known(self, step: int, known: set[int]) -> None:
        said = sorted(known)
        self._call(lambda store: [each.say(store, 0, f"known {step}", said) for each in self._rounds])

    def _leave(self, error: BaseException | None) -> None:
        """Tell the others if this rank failed, and end the line."""
        assert self._line is not None
        try:
            if error is None:
                self._line.call(self._say_left)
            else:
                failure = self._failure or failed(self._rank, error)
                self._line.call(lambda store: self._tell(store, failure))
            if self._rank == 0:
                self._linger(self._line)
        except StoreGoneError:
            # Nobody can be told.
            pass
        finally:
            self._line.close()

    def _linger(self, line: Line) -> None:
        """As a rule rank 0 holds the store: it stays until the others have read the last word."""

        def alone(store: Store) -> bool:
            absent = () if self._failure is None else self._failure.absent
            return all(round_.all(store, "left", absent) for round_ in self._joined())

        start = time.monotonic()
        while not line.call(alone) and (waited := time.monotonic() - start) < _LINGER:
            time.sleep(_pause(waited))

    def _stop(self, failure: Failure) -> None:
        self._call(lambda store: self._tell(store, failure))
        self.check()

    def _tell(self, store: Store, failure: Failure) -> None:
        """Whatever set it comes from, all sets of this rank hear of it, also where it has not come yet.

        As all that follows up to :meth:`_wait`, it runs in the thread of the line.
        """
        for round_ in self._rounds:
            if round_.number is None and not round_.join(store):
                if round_.leader in failure.absent:
                    # It does not take part in this at all.
                    continue
                round_.join_ahead(store)
            failure = round_.fail(store, failure)
        self._failure = self._failure or failure
        self._say_left(store)

    def _say_left(self, store: Store) -> None:
        for round_ in self._joined():
            if not round_.left:
                round_.left = True
                store.add(round_.key("left"), 1)

    def _listen(self, store: Store) -> None:
        if self._failure is None:
            failures = (round_.failure(store) for round_ in self._joined())
            failure = next((failure for failure in failures if failure is not None), None)
            if failure is not None:
                self._tell(store, failure)

    def _beat(self, store: Store) -> None:
        """Called now and then: this rank lives; do the others?"""
        self._listen(store)
        for round_ in self._joined():
            other = round_.beat(store, str(time.monotonic()) if self._line is None else self._line.sign)
            if other is not None and self._failure is None:
                self._tell(store, silent(other))

    def _sign(self, store: Store) -> None:
        for round_ in self._joined():
            store.set(round_.key("beat", self._rank), UNHEARD)

    def _joined(self) -> list[Round]:
        return [round_ for round_ in self._rounds if round_.number is not None]

    def _wait(
        self,
        round_: Round,
        find: Callable[[Store], _Found | None],
        limit: float | None,
        lacking: Callable[[Store], Sequence[int]],
    ) -> _Found:
        """What ``find`` finds at last, unless a rank fails.

        After ``limit`` seconds all fail, and ``lacking`` says which ranks of the round are to blame.
        """

        def look(store: Store) -> _Found | None:
            self._listen(store)
            return None if self._failure is not None else find(store)

        def late_ranks(store: Store) -> Failure | None:
            ranks, here = lacking(store), round_.here(store)
            return late(ranks, [rank for rank in ranks if rank not in here], self._timeout) if ranks else None

        start = time.monotonic()
        while True:
            found = self._call(look)
            self.check()
            if found:
                return found
            waited = time.monotonic() - start
            if limit is not None and waited >= limit:
                failure = self._call(late_ranks)
                if failure is not None:
                    self._stop(failure)
            time.sleep(_pause(waited))

    def _call(self, ask: Callable[[Store], _Found]) -> _Found:
        assert self._line is not None, "an agreement is a context manager"
        try:
            return self._line.call(ask)
        except StoreGoneError as error:
            self._failure = self._failure or gone(str(error))
            raise self._failure.error() from None


def _pause(waited: float) -> float:
    """Seconds until the next look: few at first, and never many against what was waited already."""
    return min(max(waited / 8, 0.001), 0.5)


def _default_store() -> tuple[Store | None, int | None]:
    distributed = torch.distributed
    running = distributed.is_available() and distributed.is_initialized()
    if not running or distributed.get_backend() == "fake":
        return None, None
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store(), distributed.get_rank()


def _timeout(given: float | None) -> float:
    if given is not None:
        return given
    return number("INITCFG_RANK_TIMEOUT", _TIMEOUT)

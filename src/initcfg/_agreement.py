"""The ranks of a job agree on what they are about to write, and fail together.

They speak through the key-value store of ``torch.distributed``, not through a collective of a backend:
a store needs no device, waits no longer than it is told to, and serves any set of ranks.

What happens in each set of ranks, whose first rank leads::

    leader   opens a round                      rounds          how many were opened
    others   join it, when it is open           seen/R          the last one that rank R took part in
    each     says every 2 s that it lives       N/beat/R        a number that grows
    each     says what it would write           N/1/facts/R
    leader   compares, answers                  N/1/answer      the seed, or whose details it wants
    each     writes, says that it is done       N/done          how many are
    each     leaves, when all are               N/left          how many have
    any      fails at any time                  N/failed        why: the first to say so; all look at it

Every rank looks at the signs of life of the leader and of its neighbour, so that of a rank that ends
all hear through ``failed``. All that there is to know lies in the store, nothing is counted here: so a
rank that failed before it came to an agreement finds into the next one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed

from initcfg import _heartbeat
from initcfg._disagreement import differing, disagreement, groups_of, ranks_text
from initcfg._heartbeat import Line, StoreGoneError
from initcfg.errors import AgreementError, ApplyError, InitcfgError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Seconds to wait for a rank that does not come, if nothing else is said.
TIMEOUT = 300.0
# Seconds that others wait longer than the leader, who knows best why.
_GRACE = 15.0
# Seconds that the rank whose process holds the store waits for the others to read the last word.
LINGER = 5.0
# Characters of a message that are told to the others.
_LONGEST = 4000
# Ranks that are asked what their plan is, where plans differ.
_ASKED = 4

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class _Failure:
    """Why all stop; ``missing`` are ranks that had not come by then."""

    text: str
    mend: str | None = None
    missing: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: bytes) -> _Failure:
        said = json.loads(text)
        return cls(said["text"], said["mend"], tuple(said["missing"]))

    @classmethod
    def of(cls, rank: int, error: BaseException) -> _Failure:
        own = isinstance(error, InitcfgError)
        message = str(error) if own else f"{type(error).__name__}: {error}".removesuffix(": ")
        return cls(
            f"Rank {rank} failed, so all stop: {message[:_LONGEST]}",
            None if own else f"Look at what rank {rank} itself says.",
        )

    def error(self) -> AgreementError:
        return AgreementError(self.text, mend=self.mend)


@dataclass
class _Round:
    """One agreement of one set of ranks."""

    ranks: tuple[int, ...]
    # None until this rank has joined it.
    number: int | None = None
    told: bool = False
    # The last sign of life of the ranks looked after, and when it was new.
    signs: dict[int, tuple[bytes, float]] = field(default_factory=dict)

    @property
    def leader(self) -> int:
        return self.ranks[0]

    def key(self, *names: object) -> str:
        """A key of the set; of this round, if it begins with its number."""
        digest = hashlib.sha256(repr(self.ranks).encode()).hexdigest()[:16]
        return "/".join(("initcfg", digest, *map(str, names)))

    def own(self, *names: object) -> str:
        return self.key(self.number, *names)

    def looked_after(self, rank: int) -> set[int]:
        """The leader, and the neighbour of a rank."""
        neighbour = self.ranks[(self.ranks.index(rank) + 1) % len(self.ranks)]
        return {self.leader, neighbour} - {rank}


class Agreement:
    """What the ranks of some sets do between its beginning and its end, all do or none.

    Every rank must make the same agreements in the same order. Where there is nobody to agree with (no
    set of two ranks or more, no process group, a fake one) nothing is exchanged.

    Args:
        rank_sets: Sets of global ranks, each given in the same order on each of its ranks; the first of a
            set leads it. This rank is in each.
        timeout: Seconds to wait for a rank that lives, but does not come; by default ``INITCFG_TIMEOUT``,
            or 300. While others write, there is no limit, as long as they show that they live.
        store: The store; by default, that of the default process group.
        rank: This rank, if ``store`` is given.

    Raises:
        AgreementError: Another rank failed, has ended, did not come, or has other facts.
        ApplyError: ``INITCFG_TIMEOUT`` is no number of seconds.

    Example:
        >>> from initcfg._agreement import Agreement
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
        sets = dict.fromkeys(tuple(ranks) for ranks in rank_sets)
        # One order on all ranks, so that no two sets wait for each other; the largest gives the seed.
        ordered = sorted((each for each in sets if len(each) > 1), key=lambda each: (-len(each), each))
        self._rounds: list[_Round] = []
        self._line: Line | None = None
        self._failure: _Failure | None = None
        self._steps = 0
        if ordered and store is None:
            store, rank = _default_store()
        if not ordered or store is None or rank is None:
            return
        outside = [each for each in ordered if rank not in each]
        if outside:
            raise ValueError(f"rank {rank} is not in {outside[0]}")
        self._store, self._rank = store, rank
        self._timeout = _timeout(timeout)
        self._rounds = [_Round(each) for each in ordered]

    def __enter__(self) -> Agreement:
        if self._rounds:
            self._line = Line(self._store, self._beat)
            try:
                self._call(self._open)
                for each in self._rounds:
                    self._join(each)
            except BaseException as error:
                self._leave(error)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._line is None:
            return
        try:
            if error is None:
                self._finish()
        except BaseException as late:
            error = late
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

        Raises:
            AgreementError: They have not, or a rank failed.
        """
        drawn = draw() if seed is None else seed
        agreed: int | None = None
        self._steps += 1
        for each in self._rounds:
            said = {"facts": {**facts, "seed": seed}, "drawn": drawn, "agreed": agreed}
            self._call(lambda store, each=each, said=said: self._say(store, each, "facts", said))
            agreed = self._lead(each, details) if each.leader == self._rank else self._follow(each, details)
        return drawn if agreed is None else agreed

    def check(self) -> None:
        """Costs nothing: to be called now and then in what takes long.

        Raises:
            AgreementError: Another rank has failed or ended.
        """
        if self._failure is not None:
            raise self._failure.error()

    # -- joining ---------------------------------------------------------------------------------

    def _open(self, store: Store) -> None:
        for each in self._rounds:
            if each.leader == self._rank:
                each.number = store.add(each.key("rounds"), 1)
                store.set(each.own("beat", self._rank), "0")

    def _join(self, each: _Round) -> None:
        def joined(store: Store) -> bool:
            seen = store.add(each.key("seen", self._rank), 0)
            while each.number is None and seen < store.add(each.key("rounds"), 0):
                seen = store.add(each.key("seen", self._rank), 1)
                failed = each.key(seen, "failed")
                # A round that ended because this rank had not come is of a call that it did not make.
                if not (store.check([failed]) and self._rank in _Failure.read(store.get(failed)).missing):
                    store.set(each.key(seen, "beat", self._rank), "0")
                    each.number = seen
            return each.number is not None

        self._wait(joined, self._timeout, lambda store: self._missing([each.leader], []))

    # -- agreeing --------------------------------------------------------------------------------

    def _say(self, store: Store, each: _Round, topic: str, said: Any) -> None:
        store.set(each.own(self._steps, topic, self._rank), json.dumps(said))

    def _lead(self, each: _Round, details: Callable[[], Mapping[str, str]] | None) -> int:
        said = self._collect(each, "facts", each.ranks)
        facts = {rank: one["facts"] for rank, one in said.items()}
        answer = each.own(self._steps, "answer")
        names = differing(facts)
        if names:
            plans: dict[int, Mapping[str, str]] = {}
            if "plan" in names and details is not None:
                groups = groups_of({rank: one.get("plan") for rank, one in facts.items()})
                asked = [ranks[0] for ranks in groups.values()][: 1 + _ASKED]
                self._call(lambda store: store.set(answer, json.dumps({"details": asked})))
                mine = dict(details())
                self._call(lambda store: self._say(store, each, "details", mine))
                plans = self._collect(each, "details", asked)
            self._stop(_Failure(*disagreement(facts, plans)))
        # Where the seed was drawn, ranks may have agreed on it in another set already.
        seeds = {rank: one["agreed"] for rank, one in said.items() if one["agreed"] is not None}
        if len(set(seeds.values())) > 1:
            text, _ = disagreement({rank: {"seed": seed} for rank, seed in seeds.items()}, {})
            self._stop(_Failure(text, "Each was drawn in another set of ranks: give all the same seed."))
        seed = next(iter(seeds.values()), said[self._rank]["drawn"])
        self._call(lambda store: store.set(answer, json.dumps({"seed": seed})))
        return seed

    def _follow(self, each: _Round, details: Callable[[], Mapping[str, str]] | None) -> int:
        key = each.own(self._steps, "answer")

        def answered(store: Store) -> Any:
            return json.loads(store.get(key)) if store.check([key]) else None

        def late(store: Store) -> _Failure:
            return self._missing([], [each.leader])

        answer = self._wait(answered, self._timeout + _GRACE, late)
        if "seed" in answer:
            return answer["seed"]
        if self._rank in answer["details"]:
            mine = {} if details is None else dict(details())
            self._call(lambda store: self._say(store, each, "details", mine))
        # The leader says what differs.
        return self._wait(lambda store: None, self._timeout + _GRACE, late)

    def _collect(self, each: _Round, topic: str, ranks: Sequence[int]) -> dict[int, Any]:
        keys = {rank: each.own(self._steps, topic, rank) for rank in ranks}

        def collected(store: Store) -> list[bytes] | None:
            return store.multi_get(list(keys.values())) if store.check(list(keys.values())) else None

        def late(store: Store) -> _Failure:
            silent = [rank for rank, key in keys.items() if not store.check([key])]
            return self._absent(store, each, silent)

        found = self._wait(collected, self._timeout, late)
        return {rank: json.loads(text) for rank, text in zip(keys, found, strict=True)}

    # -- ending ----------------------------------------------------------------------------------

    def _finish(self) -> None:
        def say(store: Store) -> None:
            for each in self._rounds:
                store.add(each.own("done"), 1)

        def finished(store: Store) -> bool:
            return all(store.add(each.own("done"), 0) >= len(each.ranks) for each in self._rounds)

        def late(store: Store) -> _Failure:
            for each in self._rounds:
                failure = self._absent(store, each, each.ranks)
                if failure.missing:
                    return failure
            return _Failure(f"The ranks did not all come to the end within {self._timeout:g} s.")

        self._call(say)
        # Who has agreed is here, and writes: that may take long.
        self._wait(finished, None if self._steps else self._timeout, late)

    def _leave(self, error: BaseException | None) -> None:
        """Tell the others if this rank failed, and end the line."""
        assert self._line is not None
        try:
            if error is None:
                self._line.call(self._say_left)
            else:
                failure = self._failure or _Failure.of(self._rank, error)
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
            return all(
                store.add(each.own("left"), 0) >= len(each.ranks)
                for each in self._rounds
                if each.number is not None
            )

        start = time.monotonic()
        while not line.call(alone) and (waited := time.monotonic() - start) < LINGER:
            time.sleep(_pause(waited))

    def _say_left(self, store: Store) -> None:
        for each in self._rounds:
            if each.number is not None and not each.told:
                each.told = True
                store.add(each.own("left"), 1)

    # -- failing ---------------------------------------------------------------------------------

    def _stop(self, failure: _Failure) -> None:
        self._call(lambda store: self._tell(store, failure))
        raise failure.error()

    def _tell(self, store: Store, failure: _Failure) -> None:
        """Whatever set it comes from, all sets of this rank hear of it; what was said first, stays."""
        for each in self._rounds:
            if each.number is not None:
                store.compare_set(each.own("failed"), "", json.dumps(asdict(failure)))
        self._failure = self._failure or failure
        self._say_left(store)

    def _listen(self, store: Store) -> None:
        if self._failure is None:
            for each in self._rounds:
                if each.number is not None and store.check([each.own("failed")]):
                    self._tell(store, _Failure.read(store.get(each.own("failed"))))
                    return

    def _beat(self, store: Store) -> None:
        """Called by the line, now and then: this rank lives; do the others?"""
        self._listen(store)
        now = time.monotonic()
        for each in self._rounds:
            if each.number is None:
                continue
            store.set(each.own("beat", self._rank), str(now))
            for other in each.looked_after(self._rank):
                key = each.own("beat", other)
                if other not in each.signs and not store.check([key]):
                    continue
                sign, since = store.get(key), time.monotonic()
                before = each.signs.setdefault(other, (sign, since))
                if before[0] != sign:
                    each.signs[other] = (sign, since)
                elif since - before[1] > _heartbeat.SILENCE and self._failure is None:
                    self._tell(store, _silent(other))

    def _absent(self, store: Store, each: _Round, ranks: Sequence[int]) -> _Failure:
        here = [rank for rank in ranks if store.check([each.own("beat", rank)])]
        return self._missing([rank for rank in ranks if rank not in here], here)

    def _missing(self, missing: Sequence[int], waiting: Sequence[int]) -> _Failure:
        """Ranks that did not come, and ranks that came, but did not say what they would write."""
        told: list[str] = []
        if missing:
            told.append(f"{ranks_text(missing)} did not come")
        if waiting:
            told.append(f"{ranks_text(waiting)} came, but did not say what to write,")
        text = f"{' and '.join(told)} within {self._timeout:g} s.".replace(", within", " within")
        return _Failure(
            text[0].upper() + text[1:],
            f"Look at what {ranks_text([*missing, *waiting])} did meanwhile: every rank must make the same "
            "calls. INITCFG_TIMEOUT=SECONDS gives more time.",
            tuple(missing),
        )

    # -- the store -------------------------------------------------------------------------------

    def _wait(
        self,
        find: Callable[[Store], _Found | None],
        limit: float | None,
        late: Callable[[Store], _Failure],
    ) -> _Found:
        """What ``find`` finds at last, unless a rank fails; after ``limit`` seconds, all fail."""

        def look(store: Store) -> _Found | None:
            self._listen(store)
            return None if self._failure is not None else find(store)

        start = time.monotonic()
        while True:
            found = self._call(look)
            self.check()
            if found:
                return found
            waited = time.monotonic() - start
            if limit is not None and waited >= limit:
                self._stop(self._call(late))
            time.sleep(_pause(waited))

    def _call(self, ask: Callable[[Store], _Found]) -> _Found:
        assert self._line is not None, "an agreement is a context manager"
        try:
            return self._line.call(ask)
        except StoreGoneError as error:
            if self._failure is None:
                self._failure = _Failure(
                    f"The store of torch.distributed is gone ({_first_line(error)}): the process that holds "
                    "it, as a rule that of rank 0, has ended.",
                    "Look at what rank 0 itself says.",
                )
            raise self._failure.error() from None


def _default_store() -> tuple[Store | None, int | None]:
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return None, None
    if distributed.get_backend() == "fake":
        return None, None
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store(), distributed.get_rank()


def _timeout(given: float | None) -> float:
    if given is not None:
        return float(given)
    text = os.environ.get("INITCFG_TIMEOUT", "").strip()
    if not text:
        return TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ApplyError(
            f"INITCFG_TIMEOUT is {text!r}.", mend="Set it to a number of seconds, or leave it away."
        )
    return seconds


def _silent(rank: int) -> _Failure:
    return _Failure(
        f"Rank {rank} gave no sign of life for {_heartbeat.SILENCE:g} s, so all stop.",
        f"Its process has ended or is stuck: look at what rank {rank} itself says.",
    )


def _pause(waited: float) -> float:
    """Seconds until the next look: short at first, and never much against what was waited already."""
    return min(max(waited / 8, 0.001), 0.5)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].split(". ")[0].rstrip(".")

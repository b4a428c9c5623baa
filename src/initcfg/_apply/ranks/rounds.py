"""One agreement of one set of ranks, as it lies in the key-value store that they share.

The first rank of a set leads it. The keys of a set, and of its round ``N``::

    rounds          how many rounds the leader has opened
    seen/R          the last round that rank R took part in
    N/beat/R        a sign of life of rank R: another value every 2 s
    N/1/facts/R     what rank R would write; N/1/details/R, tensor by tensor
    N/1/answer/R    the leader's: the seed, or whose details it wants
    N/0/told T/R    what rank R says for the T-th time while all write
    N/done          how many ranks have written; N/done/R: rank R has
    N/bridges       how many of these are in other sets, too
    N/0/known K/R   the ranks of which rank R knows then, K sets away at most
    N/left          how many know the end, and leave
    N/failed        why all stop: what the first to fail says

All that there is to know lies in the store, nothing is counted here: so a rank that failed before it
came to one agreement finds into the next. Only where in one call one rank fails so, and another within
the agreement, the first hears of the second's failure once more, the next time: it cannot know that it is
not merely late.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from initcfg._apply.ranks import heartbeat
from initcfg._apply.ranks.disagreement import ranks_text
from initcfg.errors import AgreementError, InitcfgError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Characters of a message that are told to the others.
_LONGEST = 4000


@dataclass(frozen=True)
class Failure:
    """Why all stop; ``absent`` are ranks that had not come by then, or had ended."""

    text: str
    fix: str | None = None
    absent: Sequence[int] = ()

    def error(self) -> AgreementError:
        return AgreementError(self.text, fix=self.fix)


@dataclass
class Round:
    """A set of ranks, whose first leads, and the round of it that this rank is in."""

    ranks: tuple[int, ...]
    rank: int
    # None until this rank has joined it.
    number: int | None = None
    # This rank knows the end, and has said so.
    left: bool = False
    # How often this rank has told the others something while it wrote.
    told: int = 0
    # Of the ranks that are looked after: the last sign of life, and how often it was the same.
    signs: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    @property
    def leader(self) -> int:
        return self.ranks[0]

    def __post_init__(self) -> None:
        self._set = hashlib.sha256(repr(self.ranks).encode()).hexdigest()[:16]

    def _key(self, *names: object) -> str:
        return "/".join(("initcfg", self._set, *map(str, names)))

    def key(self, *names: object) -> str:
        """A key of this round."""
        return self._key(self.number, *names)

    def join(self, store: Store) -> bool:
        """Open a round if this rank leads, else join the next that is open, if there is one."""
        if self.rank == self.leader:
            return self._joined(store, store.add(self._key("rounds"), 1))
        seen, opened = store.add(self._key("seen", self.rank), 0), store.add(self._key("rounds"), 0)
        while seen < opened:
            seen = store.add(self._key("seen", self.rank), 1)
            failure = self.failure(store, seen)
            # One that ended because this rank did not come was of a call that this rank did not make.
            if failure is None or self.rank not in failure.absent:
                return self._joined(store, seen)
        return False

    def join_ahead(self, store: Store) -> None:
        """Take part in a round that is not open yet: this rank fails, and will not be there when it is."""
        self._joined(store, store.add(self._key("seen", self.rank), 1))

    def _joined(self, store: Store, number: int) -> bool:
        store.set(self._key(number, "beat", self.rank), "0")
        self.number = number
        return True

    def beat(self, store: Store, sign: str) -> int | None:
        """Give a sign of life; a rank that gives none any more, if there is one.

        Each rank looks after the leader and after its neighbour.
        """
        store.set(self.key("beat", self.rank), sign)
        neighbour = self.ranks[(self.ranks.index(self.rank) + 1) % len(self.ranks)]
        for other in {self.leader, neighbour} - {self.rank}:
            key = self.key("beat", other)
            if other not in self.signs and not store.check([key]):
                continue
            last = store.get(key)
            if last == heartbeat.UNHEARD.encode():
                continue
            before, times = self.signs.get(other, (last, 0))
            # Looks are counted, not seconds: a store or a machine that stood still for a while makes one.
            self.signs[other] = (last, times + 1 if last == before else 0)
            if self.signs[other][1] * heartbeat.INTERVAL >= heartbeat.SILENCE:
                return other
        return None

    def say(self, store: Store, step: int, topic: str, said: Any) -> None:
        """What this rank has to say on a topic."""
        store.set(self.key(step, topic, self.rank), json.dumps(said))

    def all(self, store: Store, what: str, absent: Sequence[int] = ()) -> bool:
        """All but the absent have come to ``done`` or ``left``."""
        return store.add(self.key(what), 0) >= len(set(self.ranks).difference(absent))

    def fail(self, store: Store, failure: Failure) -> Failure:
        """Say why all stop, if nobody has said so yet; what was said first."""
        return _read(store.compare_set(self.key("failed"), "", json.dumps(asdict(failure))))

    def failure(self, store: Store, number: int | None = None) -> Failure | None:
        """Why all stop, or stopped in an earlier round."""
        key = self._key(self.number if number is None else number, "failed")
        return _read(store.get(key)) if store.check([key]) else None

    def here(self, store: Store) -> list[int]:
        """The ranks that have joined, as far as this one can tell: nothing, before it has."""
        joined = self.ranks if self.number is not None else ()
        return [rank for rank in joined if store.check([self.key("beat", rank)])]


def _read(text: bytes) -> Failure:
    return Failure(**json.loads(text))


def failed(rank: int, error: BaseException) -> Failure:
    """A rank raised an error."""
    own = isinstance(error, InitcfgError)
    message = str(error) if own else f"{type(error).__name__}: {error}".removesuffix(": ")
    return Failure(
        f"Rank {rank} failed, so all stop: {message[:_LONGEST]}",
        None if own else f"Look at what rank {rank} itself says.",
    )


def silent(rank: int) -> Failure:
    """A rank gave no sign of life."""
    return Failure(
        f"Rank {rank} gave no sign of life for {heartbeat.SILENCE:g} s, so all stop.",
        f"Its process has ended or is stuck: look at what rank {rank} itself says.",
        (rank,),
    )


def late(ranks: Sequence[int], missing: Sequence[int], seconds: float) -> Failure:
    """Ranks did not come (others may wait for these); or came, but did not say what they would write."""
    what = "did not come" if missing else "came, but did not say what to write"
    who = ranks_text(missing or ranks)
    return Failure(
        f"{who[0].upper()}{who[1:]} {what} within {seconds:g} s.",
        f"Look at what {who} did meanwhile: every rank must make the same calls. "
        "INITCFG_RANK_TIMEOUT=SECONDS gives more time.",
        tuple(missing),
    )


def unmet(ranks: Sequence[int]) -> Failure:
    """Ranks are done, and others still wait for what these were to say."""
    return Failure(
        f"Other ranks wait for {ranks_text(ranks)}, done already: they do not do the same.",
        "Give every rank the same model, rules and arguments.",
    )


def gone(reason: str) -> Failure:
    """The store does not answer."""
    first_line = (reason.splitlines() or [""])[0].split(". ")[0].rstrip(".")
    return Failure(
        f"The store of torch.distributed is gone ({first_line}): the process that holds it, as a rule that "
        "of rank 0, has ended.",
        "Look at what rank 0 itself says.",
    )

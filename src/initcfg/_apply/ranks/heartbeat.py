"""A line to the store that the processes share: a thread that says that this rank lives, and asks for it.

The thread alone speaks with the store. So the main thread never waits inside of a call that cannot be
interrupted, and the others hear of this rank also while it computes. Where the system gives no thread, the
main thread asks itself, and the others do not wait for signs of life: ``UNHEARD`` is its only one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Seconds between two signs of life.
INTERVAL = 2.0
# Seconds without one after which a rank is taken for dead.
SILENCE = 20.0
# Seconds after which a store that does not answer is taken for gone.
ANSWER = 30.0

UNHEARD = "no thread"
"""The sign of a rank that cannot give signs while it computes."""

_Answer = TypeVar("_Answer")


class StoreGoneError(Exception):
    """The store does not answer."""


class Line:
    """A connection to the store, in a thread of its own, which calls ``beat`` every ``INTERVAL`` seconds."""

    def __init__(self, store: Store, beat: Callable[[Store], None]) -> None:
        self._store = store
        self._beat = beat
        self._asked: queue.SimpleQueue[tuple[Callable[[Store], Any], Future[Any]] | None]
        self._asked = queue.SimpleQueue()
        self._gone: StoreGoneError | None = None
        self._due = 0.0
        self._thread: threading.Thread | None
        self._thread = threading.Thread(target=self._run, name="initcfg-heartbeat", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None

    @property
    def sign(self) -> str:
        """A sign of life."""
        return UNHEARD if self._thread is None else str(time.monotonic())

    def call(self, ask: Callable[[Store], _Answer]) -> _Answer:
        """What ``ask(store)`` returns, called in the thread of this line. It must not block."""
        if self._gone is not None:
            raise self._gone
        answer: Future[_Answer] = Future()
        try:
            if self._thread is None:
                return self._ask(ask)
            self._asked.put((ask, answer))
            return answer.result(ANSWER)
        except NoAnswer:
            answer.cancel()
            self._gone = StoreGoneError(f"no answer for {ANSWER:g} s")
        except (RuntimeError, OSError) as error:
            # What torch raises when the other end is gone is a RuntimeError.
            self._gone = StoreGoneError(str(error))
        raise self._gone

    def _ask(self, ask: Callable[[Store], _Answer]) -> _Answer:
        """The same in the caller's thread; it looks at the others as seldom as a thread would."""
        store = _clone(self._store)
        found = ask(store)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + INTERVAL
            self._beat(store)
        return found

    def close(self) -> None:
        """End the thread; at once, if it can be."""
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        store: Store | None = None
        due = time.monotonic() + INTERVAL
        while True:
            try:
                asked = self._asked.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                asked = (self._beat, Future())
                due = time.monotonic() + INTERVAL
            if asked is None:
                return
            ask, answer = asked
            if not answer.set_running_or_notify_cancel():
                # Nobody waits for it any more.
                continue
            try:
                if store is None:
                    store = _clone(self._store)
                if ask != self._beat and time.monotonic() >= due:
                    due = time.monotonic() + INTERVAL
                    self._beat(store)
                answer.set_result(ask(store))
            except Exception as error:
                # Also of a beat: who asks next hears that the store is gone.
                answer.set_exception(error)


# A connection of its own for each store, because on a shared one others may wait and keep this thread out;
# made once, because to connect may mean to ask for the name of a host.
_clones: WeakKeyDictionary[Store, Store] = WeakKeyDictionary()


def _clone(store: Store) -> Store:
    clone = getattr(store, "clone", None)
    if clone is None:
        return store
    if store not in _clones:
        _clones[store] = clone()
    return _clones[store]

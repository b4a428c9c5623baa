"""A line to the store that the processes share: a thread that says that this rank lives, and asks for it.

The thread alone speaks with the store. So the main thread never waits inside of a call that cannot be
interrupted, and the others hear of this rank also while it computes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as NoAnswer
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Seconds between two signs of life.
INTERVAL = 2.0
# Seconds without one after which a rank is taken for dead.
SILENCE = 20.0
# Seconds after which a store that does not answer is taken for gone.
ANSWER = 30.0

_Answer = TypeVar("_Answer")


class StoreGoneError(Exception):
    """The store does not answer."""


class Line:
    """A connection to the store, in a thread of its own.

    Args:
        store: The store.
        beat: Called in that thread every :data:`INTERVAL` seconds, with the store.
    """

    def __init__(self, store: Store, beat: Callable[[Store], None]) -> None:
        self._store = store
        self._beat = beat
        self._asked: queue.SimpleQueue[tuple[Callable[[Store], Any], Future[Any]] | None]
        self._asked = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="initcfg-heartbeat", daemon=True)
        self._thread.start()

    def call(self, ask: Callable[[Store], _Answer]) -> _Answer:
        """What ``ask(store)`` returns, called in the thread of this line. It must not block.

        Raises:
            StoreGoneError: The store is gone, or does not answer.
        """
        answer: Future[_Answer] = Future()
        self._asked.put((ask, answer))
        try:
            return answer.result(ANSWER)
        except NoAnswer:
            answer.cancel()
            raise StoreGoneError(f"no answer for {ANSWER:g} s") from None

    def close(self) -> None:
        """End the thread; at once, if it can be."""
        self._asked.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        store: Store | None = None
        due = time.monotonic() + INTERVAL
        while True:
            try:
                asked = self._asked.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                asked = ()
            if asked is None:
                return
            try:
                beating = time.monotonic() >= due
                if beating:
                    due = time.monotonic() + INTERVAL
                if store is None:
                    # A connection of its own: on a shared one, others may wait and keep this thread out.
                    store = _clone(self._store)
                if beating:
                    self._beat(store)
                if asked:
                    _settle(asked[1], result=asked[0](store))
            except Exception as error:
                # What torch raises when the other end is gone is a RuntimeError.
                gone = StoreGoneError(str(error)) if isinstance(error, (RuntimeError, OSError)) else error
                if asked:
                    _settle(asked[1], error=gone)


def _clone(store: Store) -> Store:
    clone = getattr(store, "clone", None)
    return store if clone is None else clone()


def _settle(answer: Future[Any], *, result: Any = None, error: Exception | None = None) -> None:
    try:
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)
    except InvalidStateError:
        # Nobody waits for it any more.
        pass

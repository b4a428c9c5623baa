"""Changes of the whole process, such as patches: made while any thread needs them, then undone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar
from typing import Any, Generic, TypeVar

from torch.jit import _builtins

T = TypeVar("T")


class ProcessWide(Generic[T]):
    """A change of the process: the first who needs it makes it, and the last undoes it.

    Other threads meet it too: what it puts in place asks :meth:`here`, and does as before where that is None.
    ``change`` makes the change, and leaves on the stack how to undo it.
    """

    def __init__(self, change: Callable[[contextlib.ExitStack], None]) -> None:
        self._change = change
        self._lock = threading.RLock()
        self._users = 0
        self._undo = contextlib.ExitStack()
        # The purpose in a list, which is emptied afterwards: a thread may have taken it over.
        self._here: ContextVar[list[T] | None] = ContextVar("initcfg_process_wide", default=None)

    def here(self) -> T | None:
        """What this thread needs the change for; None if it does not."""
        purpose = self._here.get()
        return purpose[0] if purpose else None

    @contextlib.contextmanager
    def needed(self, purpose: T) -> Iterator[None]:
        """Within this, the change is made."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._change(self._undo)
        held = [purpose]
        token = self._here.set(held)
        try:
            yield
        finally:
            self._here.reset(token)
            held.clear()
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._undo.close()


def of_ours(context: Context) -> list[tuple[ContextVar[Any], Any]]:
    """What this package keeps in a context, and nothing of anybody else."""
    return [(variable, value) for variable, value in context.items() if variable.name.startswith("initcfg_")]


def replace_attribute(undo: contextlib.ExitStack, owner: Any, name: str, new: Any) -> None:
    """Give an attribute another value until the stack is closed; one that is inherited is then so again."""
    _name_to_compiler(undo, new, getattr(owner, name))
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, new)


def _name_to_compiler(undo: contextlib.ExitStack, new: Any, old: Any) -> None:
    """Have ``torch.jit.script`` take a function for the operation that the one in whose place it stands is.

    It knows them by their addresses, and takes any other for code that it is to compile: modules that are
    imported meanwhile may script functions.
    """
    known = _builtins._get_builtin_table()
    if (operation := known.get(id(old))) is not None:
        known[id(new)] = operation
        undo.callback(known.pop, id(new), None)

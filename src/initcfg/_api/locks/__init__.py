"""Locks: what models start with, as a text that a repository keeps, and what became of it since.

In: configs or builders, or the text of a lock.
Out: the text, one line for tensors that are alike; or what differs now, and what has changed around it.

Read: `words.py` (values and names as text, exactly), then `built.py` (what constructors leave in a
model), `entries.py` (the lines of one model), `lock_file.py` (the whole text, and how it is read back),
`own_modules.py` (the modules that code goes through), `origins.py` (what a model came from: files,
libraries, code, checkpoints), `making.py` (from a config to its lines), `checking.py` (then and now),
`lock_view.py` (that, for a person).
"""

from initcfg._api.locks.checking import LockCheck, check, checked
from initcfg._api.locks.lock_file import Lock
from initcfg._api.locks.lock_view import check_view
from initcfg._api.locks.making import Target, lock, locked

__all__ = ["Lock", "LockCheck", "Target", "check", "check_view", "checked", "lock", "locked"]

"""Memory that code is handed: through NumPy, DLPack or an address it writes where no dispatch mode sees it.

So whoever follows the code is told of each tensor whose memory is handed out, just before it is.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils.dlpack
from torch.utils._python_dispatch import _disable_current_modes

from initcfg._record.process_wide import ProcessWide, replace_attribute

Told = Callable[[torch.Tensor], None]
_METHODS = ("numpy", "data_ptr", "storage", "share_memory_", "__dlpack__", "apply_", "map_", "map2_")
_OF_STORAGES = ("data_ptr", "fill_", "copy_", "share_memory_", "tolist", "__getitem__", "__setitem__")
# Our own writes are no secret.
_OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "")


@contextlib.contextmanager
def told_of_memory(told: Told) -> Iterator[None]:
    """Within this, a function is told of the tensors whose memory code of this thread gets hold of.

    Those that were to be told before are told first.
    """
    with _handing.needed((*(_handing.here() or ()), told)):
        yield


def keep_telling() -> contextlib.AbstractContextManager[None]:
    """Within this, nobody more is told, but what it takes stays in place."""
    return _handing.needed(_handing.here() or ())


def tell_nobody() -> contextlib.AbstractContextManager[None]:
    """Within this, nobody is told."""
    return _handing.needed(())


def _install(undo: contextlib.ExitStack) -> None:
    for name in _METHODS:
        replace_attribute(undo, torch.Tensor, name, _telling(getattr(torch.Tensor, name)))
    # Most are in a class of C's, so that they are put on the one above.
    for name in _OF_STORAGES:
        replace_attribute(undo, torch.UntypedStorage, name, _telling(getattr(torch.UntypedStorage, name)))
    for home in (torch.utils.dlpack, torch):
        if hasattr(home, "to_dlpack"):
            replace_attribute(undo, home, "to_dlpack", _telling(home.to_dlpack))


_handing: ProcessWide[tuple[Told, ...]] = ProcessWide(_install)


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        told = _handing.here()
        if told is not None and not _by_us():
            # Of two memories one is read.
            for item in (*args, *kwargs.values()):
                tensor = _tensor_on(item) if isinstance(item, torch.UntypedStorage) else item
                if isinstance(tensor, torch.Tensor):
                    for each in told:
                        each(tensor)
        return original(*args, **kwargs)

    return function


def _by_us() -> bool:
    frame = sys._getframe(2)
    while frame.f_code.co_filename == torch.storage.__file__ and frame.f_back is not None:
        # Methods of storages call each other.
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(_OURS)


def _tensor_on(storage: torch.UntypedStorage) -> torch.Tensor:
    with _disable_current_modes():
        return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]

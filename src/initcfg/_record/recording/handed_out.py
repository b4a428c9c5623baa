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
_METHODS = ("numpy", "data_ptr", "storage", "share_memory_", "__dlpack__")
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


def _install(undo: contextlib.ExitStack) -> None:
    for name in _METHODS:
        replace_attribute(undo, torch.Tensor, name, _telling(getattr(torch.Tensor, name), lambda each: each))
    # Calling for the address of a storage is in a class of C's, so that it is put on the one above.
    replace_attribute(
        undo, torch.UntypedStorage, "data_ptr", _telling(torch.UntypedStorage.data_ptr, _tensor_on)
    )
    for home in (torch.utils.dlpack, torch):
        if hasattr(home, "to_dlpack"):
            replace_attribute(undo, home, "to_dlpack", _telling(home.to_dlpack, lambda each: each))


_handing: ProcessWide[tuple[Told, ...]] = ProcessWide(_install)


def _telling(original: Callable[..., Any], tensor_of: Callable[[Any], torch.Tensor]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(item: Any, *args: Any, **kwargs: Any) -> Any:
        told = _handing.here()
        if told is not None and not sys._getframe(1).f_code.co_filename.startswith(_OURS):
            tensor = tensor_of(item)
            for each in told:
                each(tensor)
        return original(item, *args, **kwargs)

    return function


def _tensor_on(storage: torch.UntypedStorage) -> torch.Tensor:
    with _disable_current_modes():
        return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]

"""Saving an initialized model: the weights, and the ledger beside them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from initcfg._config.files import replacing
from initcfg._plan import Ledger
from initcfg._stream.writing import form_problem
from initcfg.errors import OutputError, nearest, path_problem

_SUFFIXES = (".safetensors", ".pth", ".pt")


def check_output(output: str, suffixes: tuple[str, ...] = _SUFFIXES) -> None:
    """Refuse, before the work begins, a file that cannot be written or has another ending."""
    path = Path(output)
    if path.suffix not in suffixes:
        meant = nearest(path.suffix, suffixes)
        raise OutputError(
            f"{output!r} ends in none of {', '.join(suffixes)}, so its format is unknown.",
            meant=meant,
            fix=None if meant else f"End its name in {suffixes[0]}.",
        )
    check_path(output)
    if os.path.isdir(path):
        raise OutputError(f"{output!r} is a folder.", fix="Give the name of a file.")
    check_writable(path.parent)


def check_path(output: str) -> None:
    """Refuse what no file or folder can be called."""
    if (problem := path_problem(output)) is not None:
        raise OutputError(f"{output!r} is no path: {problem}.", fix="Choose another name.")


def check_writable(folder: Path) -> None:
    """Refuse a folder in which no file can be made."""
    if not os.path.isdir(folder):
        raise OutputError(f"The folder {str(folder)!r} does not exist.", fix="Make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"No permission to write in {str(folder)!r}.", fix="Choose another folder.")


def is_folder(output: str, *, asked: bool) -> bool:
    """Whether an output is a folder for shards; ``asked``: an option was given that only a folder has.

    Example:
        >>> from initcfg._apply.weights_file import is_folder
        >>> [is_folder(name, asked=False) for name in ("llama", "llama-3.1", "w.safetensors", "w.onnx")]
        [True, True, False, False]
    """
    path = Path(output)
    if output.endswith(("/", os.sep)) or (os.path.isdir(output) and path.suffix not in _SUFFIXES):
        return True
    if asked and path.suffix in _SUFFIXES:
        raise OutputError(
            f"{output!r} is the name of a file, and --shard-size, --format, --dtype and --overwrite are for "
            "checkpoints in a folder.",
            fix=f"Give a folder: -o {str(path.with_suffix(''))!r}.",
        )
    return asked or not re.fullmatch(r"\.[A-Za-z]\w*", path.suffix)


def save_weights(model: nn.Module, ledger: Ledger, output: str) -> str:
    """Write the ``state_dict`` and, beside it, the ledger; both whole, or neither.

    A tied tensor is stored once, under the first of its keys, as in a folder: that is where loaders of
    libraries, which tie a head to its embedding, look. The metadata of a safetensors file names the others,
    as ``safetensors.torch.load_model`` expects it. The path of the ledger is returned.
    """
    path = Path(output)
    ledger_path = path.with_suffix(".ledger.json")
    text = json.dumps(ledger.to_json(), indent=1, default=str)
    with replacing(path) as weights, replacing(ledger_path) as account:
        try:
            if path.suffix == ".safetensors":
                tensors, removed = _distinct(model)
                compact = json.dumps(ledger.to_json(), separators=(",", ":"), default=str)
                metadata = {"format": "pt", "initcfg.ledger": compact, **removed}
                save_file(tensors, weights, metadata)
                _in_order(weights, metadata)
            else:
                # Through a file object: a path would put its random name into the archive.
                with open(weights, "wb") as file:
                    torch.save(model.state_dict(), file)
        except KeyError as error:
            # What safetensors says of a type that it has no name for.
            raise _not_storable(repr(output), f"a tensor of type {error}") from error
        except (SafetensorError, RuntimeError) as error:
            raise OutputError(
                f"{output!r} cannot be written: {error}.", fix="Make room; nothing was left half-written."
            ) from error
        Path(account).write_text(text + "\n", encoding="utf-8")
    return str(ledger_path)


def _in_order(path: str, metadata: dict[str, str]) -> None:
    """Give the metadata of a safetensors file an order, so that the same model makes the same bytes.

    The library writes it in an order that changes from run to run. The header keeps its length.
    """
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        ordered = json.dumps(
            {**header, "__metadata__": dict(sorted(metadata.items()))},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        if len(ordered) <= length:
            file.seek(8)
            file.write(ordered.ljust(length))


def _not_storable(output: str, what: str) -> OutputError:
    return OutputError(
        f"{output} cannot hold {what}.", fix="Save to a .pth file, which can; nothing was left half-written."
    )


def _distinct(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of the ``state_dict`` that share no memory, and the names left out."""
    kept: dict[str, torch.Tensor] = {}
    removed: dict[str, str] = {}
    names: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if (problem := form_problem(tensor)) is not None:
            raise _not_storable("A safetensors file", f"{name!r}, which {problem[0]}")
        place = tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
        memory = tensor.untyped_storage().data_ptr(), *place
        same = names.setdefault(memory, name) if memory[0] else name
        if same == name:
            kept[name] = tensor.contiguous()
        else:
            removed[name] = same
    return kept, removed

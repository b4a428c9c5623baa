"""What makes weights a folder that transformers' ``from_pretrained`` opens: config, tokenizer, and so on."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from initcfg._config import builder_of
from initcfg._config.files import output_error, write_atomically
from initcfg.errors import log

_CONFIG, _GENERATION = "config.json", "generation_config.json"
# What stands beside the weights of a model and does not depend on them.
_COPIED = (
    _GENERATION,
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*preprocessor_config.json",
    "processor_config.json",
    "chat_template*",
)


def complete_folder(model: nn.Module, folder: str | Path, *, dtype: str | None, overwrite: bool) -> list[str]:
    """Write the config of a model of transformers beside its weights, and copy what stood beside its own.

    A file that is there already stays, unless ``overwrite`` says otherwise.

    Args:
        model: The model; one of another library's gets nothing.
        folder: Where its weights are.
        dtype: The type that they are stored in, if it is not the model's.
        overwrite: Whether files there are replaced.

    Returns:
        Names of the files that were written.
    """
    if not any(base.__name__ == "PreTrainedModel" for base in type(model).__mro__):
        return []
    written: list[str] = []
    target = Path(folder)
    try:
        for name, text in _texts(model, dtype):
            if _is_free(target / name, text, overwrite):
                write_atomically(target / name, text)
                written.append(name)
        for path in _beside(model):
            if path.name not in written and _is_free(target / path.name, path.read_bytes(), overwrite):
                shutil.copyfile(path, target / path.name)
                written.append(path.name)
    except OSError as error:
        raise output_error(target, error) from error
    return written


def _texts(model: Any, dtype: str | None) -> Iterator[tuple[str, bytes]]:
    config: dict[str, Any] = json.loads(model.config.to_json_string())
    config["architectures"] = [type(model).__name__]
    if dtype is not None:
        config["dtype"] = dtype
    yield _CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    if _source(model) is None and getattr(model, "generation_config", None) is not None:
        yield _GENERATION, model.generation_config.to_json_string().encode()


def _is_free(path: Path, content: bytes, overwrite: bool) -> bool:
    """Whether a file is to be written; of one that is kept though it says something else, that is told."""
    if overwrite or not os.path.lexists(path):
        return True
    if os.path.isfile(path) and not _same(path.read_bytes(), content):
        log(
            "%s was there, and stays as it is: this model would have another. --overwrite replaces it.",
            path,
        )
    return False


def _same(there: bytes, new: bytes) -> bool:
    try:
        one, other = json.loads(there), json.loads(new)
    except ValueError:
        return there == new
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one == other
    # What one of them leaves out is a default.
    return all(one[key] == other[key] for key in one.keys() & other.keys() if key != "transformers_version")


def _source(model: nn.Module) -> Path | None:
    """The folder that ``hf:FOLDER`` named, of which the model was built."""
    text = builder_of(model)
    if text is None or not text.startswith("hf:"):
        return None
    path = Path(os.path.expanduser(text.removeprefix("hf:")))
    folder = path if os.path.isdir(path) else path.parent
    return folder if os.path.exists(path) else None


def _beside(model: nn.Module) -> list[Path]:
    folder = _source(model)
    if folder is None:
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if os.path.isfile(path) and any(fnmatch.fnmatch(path.name, pattern) for pattern in _COPIED)
    )

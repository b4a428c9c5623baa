"""``timm://``: names of timm's registry of pretrained models."""

from __future__ import annotations

from typing import Any

from initcfg._checkpoints.sources import given, hub, local, web
from initcfg._checkpoints.sources.clients import client
from initcfg._checkpoints.sources.located import Located
from initcfg.errors import CheckpointError, nearest


def locate(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """The weights of ``timm://name`` or ``timm://name.tag``, from where timm itself would take them.

    Raises:
        CheckpointError: timm or huggingface_hub is missing, or timm has no such weights.
    """
    name = source.partition("://")[2].strip("/")
    for start in ("hf-hub:", "hf_hub:"):
        if name.startswith(start):
            return hub.locate(f"hf://{name.removeprefix(start)}", sha256=sha256, offline=offline)
    config = _config(name, source)
    if config.custom_load:
        raise CheckpointError(
            f"The weights of {source!r} are in a format that only their model can read.",
            fix="Save the state_dict of the model that timm builds, and give the path.",
        )
    if config.state_dict:
        return given.locate(config.state_dict, sha256=sha256)
    if config.file:
        return local.locate(str(config.file), sha256=sha256, offline=offline)
    if config.hf_hub_id:
        repository, _, revision = str(config.hf_hub_id).partition("@")
        return hub.find(
            repository,
            revision or None,
            _files(config.hf_hub_filename),
            source,
            sha256=sha256,
            offline=offline,
        )
    if config.url:
        # Some are an address and the name under which timm keeps the file.
        url = config.url if isinstance(config.url, str) else config.url[0]
        return web.locate(url, sha256=sha256, offline=offline)
    raise CheckpointError(
        f"timm has no pretrained weights for {source!r}.",
        meant=[f"timm://{other}" for other in nearest(name, _timm(source).list_pretrained())],
    )


def _timm(source: str) -> Any:
    return client("timm", source, "timm")


def _config(name: str, source: str) -> Any:
    timm = _timm(source)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        config = None
    if config is None:
        raise CheckpointError(
            f"timm has no pretrained model {name!r}.",
            meant=[f"timm://{other}" for other in nearest(name, timm.list_pretrained())],
        )
    return config


def _files(name: str | None) -> tuple[str, ...]:
    if not name:
        return hub.PREFERRED
    # As timm: the safe form of a pickled file, where the repository has it.
    safe = "open_clip_model.safetensors" if name == "open_clip_pytorch_model.bin" else None
    if safe is None and name.endswith(".bin"):
        safe = "model.safetensors" if name == "pytorch_model.bin" else name[:-4] + ".safetensors"
    return (safe, name) if safe else (name,)

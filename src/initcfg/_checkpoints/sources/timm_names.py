"""``timm://``: names of timm's registry of pretrained models."""

from __future__ import annotations

from typing import Any

from initcfg._checkpoints.sources.download import from_web
from initcfg._checkpoints.sources.hugging_face import PREFERRED, from_hugging_face, from_repository
from initcfg._checkpoints.sources.in_memory import from_code
from initcfg._checkpoints.sources.local import from_path
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.optional_packages import imported
from initcfg.errors import CheckpointError, CheckpointNameError, nearest


def from_timm(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """The weights of ``timm://name`` or ``timm://name.tag``, from where timm itself would take them."""
    name = source.partition("://")[2].strip("/")
    if name.startswith(("hf-hub:", "hf_hub:")):
        return from_hugging_face(f"hf://{name[7:]}", sha256=sha256, offline=offline)
    timm = imported("timm", source, "timm")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        config = None
    if config is None:
        raise _unknown(f"timm has no pretrained model {name!r}.", name, timm)
    if config.custom_load:
        raise CheckpointError(
            f"The weights of {source!r} are in a format that only their model can read.",
            fix="Save the state_dict of the model that timm builds, and give the path.",
        )
    if config.state_dict:
        return from_code(config.state_dict, sha256=sha256)
    if config.file:
        return from_path(str(config.file), sha256=sha256, offline=offline)
    if config.hf_hub_id:
        repository, _, revision = str(config.hf_hub_id).partition("@")
        files = _files(config.hf_hub_filename)
        return from_repository(repository, revision or None, files, source, sha256=sha256, offline=offline)
    if config.url:
        # Some are an address and the name under which timm keeps the file.
        url = config.url if isinstance(config.url, str) else config.url[0]
        return from_web(url, sha256=sha256, offline=offline)
    raise _unknown(f"timm has no pretrained weights for {source!r}.", name, timm)


def _unknown(problem: str, name: str, timm: Any) -> CheckpointError:
    return CheckpointNameError(
        problem, meant=[f"timm://{other}" for other in nearest(name, timm.list_pretrained())]
    )


def _files(name: str | None) -> tuple[str, ...]:
    """The file, and before it, as timm has it, its safe form, where the repository has that."""
    if not name:
        return PREFERRED
    safe = {
        "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
        "pytorch_model.bin": "model.safetensors",
    }.get(name, name.removesuffix(".bin") + ".safetensors")
    return (safe, name) if name.endswith(".bin") else (name,)

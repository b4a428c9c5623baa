"""Example inputs of transformers' models: by the names that forward takes, and the config's numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_BATCH, _LENGTH = 2, 8
_REGIONS = 4


def of_transformers(model: Any) -> list[Arguments]:
    """The arguments of one call, as far as they are known; several, to be tried in order."""
    config = getattr(model, "config", None)
    if config is None:
        return []
    taken = inspect.signature(type(model).forward).parameters
    main = getattr(model, "main_input_name", "input_ids")
    kwargs: dict[str, Any] = {"use_cache": False} if "use_cache" in taken else {}
    tokens = main in ("input_ids", "inputs") and main in taken
    if main == "pixel_values" or (main not in taken and "pixel_values" in taken):
        kwargs["pixel_values"] = _pixels(config)
        tokens = "input_ids" in taken
    elif "pixel_values" in taken and "return_loss" in taken:
        # Two towers, of which each has its own input.
        kwargs["pixel_values"] = _pixels(config)
    if tokens:
        kwargs["input_ids"] = _ids()
    encodes = getattr(config, "is_encoder_decoder", False)
    if "decoder_input_ids" in taken and (encodes or "flattened_patches" in taken):
        kwargs["decoder_input_ids"] = _ids()
    for name, make in _BY_NAME.items():
        if name in taken and name not in kwargs and (made := make(config)) is not None:
            kwargs[name] = made
    found = [kwargs]
    if tokens and not encodes and "attention_mask" in taken:
        # What these are computed from otherwise, no meta tensor has.
        masked = kwargs | {"attention_mask": torch.zeros(_BATCH, 1, _LENGTH, _LENGTH, device="cpu")}
        if "position_ids" in taken:
            masked["position_ids"] = torch.arange(_LENGTH, device="cpu")[None].expand(_BATCH, -1)
        found = [masked, kwargs] if "use_cache" in taken else [kwargs, masked]
    if tokens and "pixel_values" in taken and "pixel_values" not in kwargs:
        # Words alone are enough for some, and others take them with an image or not at all.
        found.append(kwargs | {"pixel_values": _pixels(config)})
    return [((), each) for each in found]


def _ids() -> torch.Tensor:
    # Ones, since zero is often padding, and code that runs looks at that.
    return torch.ones(_BATCH, _LENGTH, dtype=torch.long, device="cpu")


def _numbers(*shape: int) -> torch.Tensor:
    return torch.empty(_BATCH, *shape, device="meta")


def _pixels(config: Any) -> torch.Tensor:
    vision = getattr(config, "vision_config", None) or getattr(config, "image_config", None) or config
    side = getattr(vision, "image_size", None) or getattr(config, "image_size", None) or 224
    height, width = side if isinstance(side, (tuple, list)) else (side, side)
    channels = getattr(vision, "num_channels", None) or 3
    frames = getattr(config, "num_frames", None) if getattr(config, "tubelet_size", None) else None
    return _numbers(*([frames] if frames else []), channels, height, width)


def _features(config: Any) -> torch.Tensor | None:
    audio = getattr(config, "audio_config", None)
    if audio is not None and getattr(audio, "spec_size", None):
        # A spectrogram that is folded into a square image.
        return _numbers(1, audio.spec_size**2 // audio.num_mel_bins, audio.num_mel_bins)
    bins = getattr(config, "num_mel_bins", None) or getattr(config, "input_feat_per_channel", None)
    bins = bins or getattr(config, "num_mel_channels", None) or 80
    if type(config).__name__ == "WhisperConfig":
        return _numbers(bins, 2 * config.max_source_positions)
    return _numbers(64, bins)


def _wave(config: Any) -> torch.Tensor:
    channels = getattr(config, "audio_channels", None)
    if channels is None and hasattr(config, "downsampling_ratios"):
        channels = 1
    if channels is not None:
        return _numbers(channels, 3200)
    if hasattr(config, "max_length") and hasattr(config, "frequency_stride"):
        return _numbers(config.max_length, config.num_mel_bins)
    return _numbers(4000)


def _clips(config: Any) -> torch.Tensor:
    side = config.crop_size
    return _numbers(config.frames_per_clip, getattr(config, "in_chans", 3), side, side)


def _masked_patches(config: Any) -> torch.Tensor | None:
    """Half of a video's patches: a model that learns from what is left out needs some."""
    if not getattr(config, "tubelet_size", None) or not hasattr(config, "decoder_num_hidden_layers"):
        return None
    patches = (config.image_size // config.patch_size) ** 2 * (config.num_frames // config.tubelet_size)
    return (torch.arange(patches, device="cpu") % 2 == 0)[None].expand(_BATCH, -1)


def _history(config: Any) -> int:
    return config.context_length + max(getattr(config, "lags_sequence", None) or [0])


def _past(config: Any) -> Any:
    if hasattr(config, "num_input_channels"):
        return _numbers(config.context_length, config.num_input_channels)
    if hasattr(config, "lags_sequence"):
        sizes = [config.input_size] if getattr(config, "input_size", 1) > 1 else []
        return _numbers(_history(config), *sizes)
    return [torch.empty(config.context_length, device="meta") for _ in range(_BATCH)]


def _series(get: Callable[[Any], torch.Tensor]) -> Callable[[Any], torch.Tensor | None]:
    """An input of a forecast from lagged values."""
    return lambda config: get(config) if hasattr(config, "lags_sequence") else None


def _of_actions(size: Callable[[Any], int | None]) -> Callable[[Any], torch.Tensor | None]:
    """An input of a model of states and actions."""

    def make(config: Any) -> torch.Tensor | None:
        return _numbers(_LENGTH, size(config) or 1) if hasattr(config, "act_dim") else None

    return make


# What forward takes under these names, where the config says how large it is.
_BY_NAME: Mapping[str, Callable[[Any], Any]] = {
    "input_values": _wave,
    "input_features": _features,
    "pixel_values_videos": lambda config: _clips(config) if hasattr(config, "frames_per_clip") else None,
    "bool_masked_pos": _masked_patches,
    "visual_feats": lambda config: _numbers(_REGIONS, config.visual_feat_dim),
    "visual_pos": lambda config: _numbers(_REGIONS, config.visual_pos_dim),
    "flattened_patches": lambda config: _numbers(
        _LENGTH, 2 + getattr(config, "vision_config", config).patch_embed_hidden_size
    ),
    "decoder_input_values": lambda config: _numbers(_LENGTH, config.num_mel_bins),
    "speaker_embeddings": lambda config: (
        _numbers(config.speaker_embedding_dim) if hasattr(config, "speaker_embedding_dim") else None
    ),
    "past_values": _past,
    "past_time_features": _series(lambda config: _numbers(_history(config), config.num_time_features)),
    "past_observed_mask": _series(lambda config: torch.ones(_BATCH, _history(config), device="cpu")),
    "future_values": _series(lambda config: _numbers(config.prediction_length)),
    "future_time_features": _series(
        lambda config: _numbers(config.prediction_length, config.num_time_features)
    ),
    "states": _of_actions(lambda config: config.state_dim),
    "actions": _of_actions(lambda config: config.act_dim),
    "rewards": _of_actions(lambda config: 1),
    "returns_to_go": _of_actions(lambda config: 1),
    "timesteps": lambda config: (
        torch.zeros(_BATCH, _LENGTH, dtype=torch.long, device="cpu") if hasattr(config, "act_dim") else None
    ),
}

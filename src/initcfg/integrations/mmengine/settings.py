"""The key ``initcfg`` of a Runner's config: how its model is initialized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from initcfg._config.files import plain
from initcfg.errors import ConfigTypeError, nearest

KEY = "initcfg"
_MODES: dict[str, dict[str, Any]] = {"native": {}, "compat": {"compat": "mmengine", "rng": "torch"}}


@dataclass(frozen=True)
class Settings:
    """How the model of a Runner is initialized.

    Attributes:
        init_cfg: Rules around the model's own.
        seed: The seed; that of the Runner (``randomness``) if None.
        rng: ``"stream"``, or ``"torch"``: torch's generator, as the Runner left it.
        compat: ``"mmengine"`` reaches what MMEngine reaches.
        strict: A rule that reaches nothing is an error.
        roles: What a person says of the roles of tensors.
    """

    init_cfg: Any = None
    seed: int | None = None
    rng: Literal["stream", "torch"] = "stream"
    compat: str | None = None
    strict: bool = False
    roles: Any = None


def settings_in(config: Any) -> Settings:
    """What a config says under ``initcfg``: a dict, or ``"native"`` or ``"compat"`` alone.

    Raises:
        ConfigTypeError: Something else.
    """
    said = plain(config.get(KEY, None) if hasattr(config, "get") else None)
    if said is None:
        return Settings()
    if isinstance(said, str):
        if said not in _MODES:
            raise ConfigTypeError(
                f"initcfg = {said!r} is neither 'native' nor 'compat'.",
                where=KEY,
                meant=nearest(said, _MODES),
                fix="Write initcfg = 'compat' for MMEngine's own weights, or a dict.",
            )
        return Settings(**_MODES[said])
    if not isinstance(said, Mapping):
        raise ConfigTypeError(
            f"initcfg is a dict, 'native' or 'compat', not {said!r}.",
            where=KEY,
            fix="Write initcfg = dict(compat='mmengine'), say.",
        )
    known = [field.name for field in fields(Settings)]
    for key in said:
        if key not in known:
            raise ConfigTypeError(
                f"initcfg has no key {key!r}.",
                where=f"{KEY}.{key}",
                meant=nearest(str(key), known),
                fix=f"It may have: {', '.join(known)}.",
            )
    settings = Settings(**said)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    allowed: dict[str, tuple[Any, ...]] = {
        "rng": ("stream", "torch"),
        "compat": (None, "mmengine"),
        "strict": (True, False),
    }
    for key, values in allowed.items():
        value = getattr(settings, key)
        if not any(value is each or (isinstance(value, str) and value == each) for each in values):
            raise ConfigTypeError(
                f"initcfg.{key} must be {' or '.join(map(repr, values))}, not {value!r}.",
                where=f"{KEY}.{key}",
                meant=nearest(str(value), [each for each in values if isinstance(each, str)]),
            )
    seed = settings.seed
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ConfigTypeError(f"initcfg.seed is an integer, not {seed!r}.", where=f"{KEY}.seed")

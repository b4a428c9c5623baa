"""Values of another type than the annotation of the parameter that they are given to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import pytest
from torch import nn

from initcfg import MODELS, errors


@dataclass
class _Sizes:
    n_layer: int = 2
    bias: bool = True
    dropout: float = 0.0
    heads: Optional[int] = None  # noqa: UP045
    window: int | None = 3
    kind: str = "full"
    careless: int = 0.5  # pyright: ignore[reportAssignmentType]
    late: int = None  # pyright: ignore[reportAssignmentType]


class _Pair(NamedTuple):
    width: int = 2
    wide: bool = False


class _Sized(nn.Module):
    def __init__(self, sizes: _Sizes | None = None, pair: _Pair | None = None) -> None:
        super().__init__()
        self.sizes, self.pair = sizes, pair


class _Plain(nn.Module):
    def __init__(self, width: int = 2, bias: bool = True, rate: float | None = None, free: Any = 1) -> None:
        super().__init__()
        self.given = (width, bias, rate, free)


def _build(cls: type, **given: Any) -> Any:
    return MODELS.build({"type": cls, **given})


@pytest.mark.parametrize(
    ("key", "given", "said", "fix"),
    [
        (
            "bias",
            "no",
            "a text, and .*_Sizes takes true or false",
            "Write bias: false, without quotation marks.",
        ),
        ("bias", "0.5", "a text", "Write true or false, or leave bias out."),
        (
            "n_layer",
            "2",
            "a text, and .*_Sizes takes a whole number",
            "Write n_layer: 2, without quotation marks.",
        ),
        ("n_layer", "1e1", "a text", "Write n_layer: 10, without quotation marks."),
        ("n_layer", "2.5", "a text", "Write a whole number, or leave n_layer out."),
        ("n_layer", True, "true or false", "Write a whole number, or leave n_layer out."),
        ("n_layer", None, "null", "Write a whole number, or leave n_layer out."),
        (
            "dropout",
            "1e-1",
            "a text, and .*_Sizes takes a number",
            "Write dropout: 0.1, without quotation marks.",
        ),
        ("heads", "x", "a text", "Write a whole number, or leave heads out."),
        ("window", "4", "a text", "Write window: 4, without quotation marks."),
    ],
)
def test_settings_are_held_to_their_annotations(key: str, given: Any, said: str, fix: str) -> None:
    with pytest.raises(errors.BuildError, match=said) as raised:
        _build(_Sized, sizes={key: given})
    assert raised.value.fix == fix
    assert raised.value.key_path == ("sizes", key)


@pytest.mark.parametrize(
    "given",
    [
        {"heads": None, "window": None, "late": None},
        {"careless": 0.25, "dropout": 1},
        {"n_layer": 2.0, "kind": "no"},
    ],
)
def test_what_an_annotation_allows_or_the_default_shows_is_taken(given: dict[str, Any]) -> None:
    sizes = _build(_Sized, sizes=given).sizes
    assert {key: getattr(sizes, key) for key in given} == given


def test_a_named_tuple_is_held_too() -> None:
    assert _build(_Sized, pair={"width": 3}).pair == _Pair(3)
    with pytest.raises(errors.BuildError, match="wide='off' is a text"):
        _build(_Sized, pair={"wide": "off"})


def test_a_text_for_a_number_or_switch_of_a_model_is_refused() -> None:
    for wrong in ({"bias": "no"}, {"width": "2"}, {"rate": "0.1"}):
        with pytest.raises(errors.BuildError, match="is a text"):
            _build(_Plain, **wrong)
    # Annotations of models are taken as they are meant: a switch for a number is their own matter.
    assert _build(_Plain, width=2.5, rate=False, free="no").given == (2.5, True, False, "no")


def test_a_class_that_pydantic_checks_is_its_own_matter() -> None:
    converted = type("Converted", (_Sizes,), {"__pydantic_validator__": None})
    assert _build(_Sized, sizes={"type": converted, "n_layer": "2"}).sizes.n_layer == "2"

"""Roles that are declared, guessed, or partly seen; and what is wrong with what was given."""

from __future__ import annotations

import re

import pytest
import torch
from role_models import NanoGPT, ResNet
from torch import nn

from initcfg._model import declaration
from initcfg._model.roles import find_roles
from initcfg.errors import RoleError

IDS = torch.zeros(2, 8, dtype=torch.long)


class Looks(nn.Module):
    """A forward that looks at numbers at its end, which no model without memory has."""

    def __init__(self) -> None:
        super().__init__()
        self.gpt = NanoGPT()

    def forward(self, ids):
        scores = self.gpt(ids)
        return scores[scores.sum((1, 2)) > 0][0, 0]


class Refuses(nn.Module):
    """A forward that nothing runs; its names are those of other people's transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(10, 8)
        self.h = nn.ModuleList(
            nn.ModuleDict({"c_attn": nn.Linear(8, 24), "attn": nn.ModuleDict({"c_proj": nn.Linear(8, 8)})})
            for _ in range(2)
        )
        self.norm, self.lm_head = nn.LayerNorm(8), nn.Linear(8, 10)

    def forward(self, ids):
        raise RuntimeError("a kernel is missing")


def test_a_declared_role_is_that_of_these_tensors_alone() -> None:
    found = find_roles(NanoGPT(), example=IDS, declared=dict(residual_out=["*.down.weight"]))
    having = [name for name, each in found.tensors.items() if "residual_out" in each.roles]
    assert having == [f"h.{n}.down.weight" for n in range(3)]
    assert found.tensors["h.0.down.weight"].how == "declared"
    assert found.tensors["h.0.mix_back.weight"].roles == ("attn_out",)
    assert found.tensors["h.0.mix_back.weight"].how == "seen"
    assert (found.layers, found.residuals) == (3, 6)
    assert "residual_out: 3 seen and not declared (h.0.mix_back.weight)" in found.notes


def test_a_function_declares() -> None:
    def of(name: str) -> str | None:
        return "residual_out" if re.search("down|mix_back", name) and name.endswith("weight") else None

    found = find_roles(NanoGPT(), declared=of)
    assert sorted(found.tensors) == sorted(
        f"h.{n}.{end}.weight" for n in range(3) for end in ("down", "mix_back")
    )
    assert {each.how for each in found.tensors.values()} == {"declared"}
    with pytest.raises(RoleError, match="'residualout', which is no role"):
        find_roles(NanoGPT(), declared=lambda name: "residualout")


def test_the_declaration_of_what_was_seen_is_the_same() -> None:
    for model, example in ((NanoGPT(), IDS), (ResNet(), torch.zeros(2, 3, 16, 16))):
        seen = find_roles(model, example=example)
        declared = find_roles(model, declared=declaration(model, seen))
        assert {name: (set(each.roles), each.layer) for name, each in declared.tensors.items()} == {
            name: (set(each.roles), each.layer) for name, each in seen.tensors.items()
        }


def test_a_forward_that_ends_early_is_seen_as_far_as_it_went() -> None:
    found = find_roles(Looks(), example=IDS)
    assert (found.layers, found.residuals) == (3, 6)
    assert found.tensors["gpt.h.2.down.weight"].roles == ("mlp_out", "residual_out")
    assert any(note.startswith("seen as far as forward came, which raised ") for note in found.notes)


def test_names_are_guessed_from_where_nothing_runs() -> None:
    class OfLibrary(Refuses):
        """A model whose library has an example."""

    OfLibrary.__module__ = "torchvision.models.own"
    found = find_roles(OfLibrary())
    assert found.notes == ("guessed from names: its forward raised RuntimeError: a kernel is missing",)
    assert {name: (each.roles, each.how) for name, each in found.tensors.items() if "h.0" not in name} == {
        "wte.weight": (("embedding",), "guessed"),
        "h.1.c_attn.weight": (("attn_qkv",), "guessed"),
        "h.1.c_attn.bias": ((), "guessed"),
        "h.1.attn.c_proj.weight": (("attn_out", "residual_out"), "guessed"),
        "h.1.attn.c_proj.bias": ((), "guessed"),
        "norm.weight": (("norm",), "guessed"),
        "norm.bias": (("norm",), "guessed"),
        "lm_head.weight": (("head",), "guessed"),
    }
    assert (found.layers, found.residuals) == (2, 2)
    assert find_roles(Refuses(), declared="names").tensors == found.tensors


def test_an_example_that_was_given_and_fails_is_an_error() -> None:
    message = (
        "The Refuses does not run on the example that was given: its forward raised RuntimeError: a kernel"
    )
    with pytest.raises(RoleError, match=message) as caught:
        find_roles(Refuses(), example=IDS)
    assert caught.value.problem.count("\n") == 0 and "roles='names'" in str(caught.value.fix)
    with pytest.raises(RoleError, match="does not run on the example that was given"):
        find_roles(NanoGPT(), example=torch.zeros(2, 3), declared=dict(residual_out=["*.down.weight"]))


def test_forms_of_an_example() -> None:
    seen = find_roles(NanoGPT(), example=IDS).tensors
    for example in ((IDS,), [IDS], dict(ids=IDS), lambda: IDS, lambda: (IDS,), ((), dict(ids=IDS))):
        assert find_roles(NanoGPT(), example=example).tensors == seen


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(), "what it takes as input is not known"),
        (dict(example=3), "not 3"),
        (dict(example={1: IDS}), "must be texts"),
        (dict(example=lambda: 1 / 0), "raised ZeroDivisionError"),
        (dict(declared=3), "must be a dict, a function or 'names', not 3"),
        (dict(declared=dict(resid=["*"])), "'resid', which is no role"),
        (dict(declared=dict(residual_out=["*.o.weight"])), "matches no parameter"),
    ],
)
def test_errors(given: dict, said: str) -> None:
    with pytest.raises(RoleError, match=re.escape(said)) as caught:
        find_roles(NanoGPT(), **given)
    assert caught.value.fix or caught.value.meant


def test_a_model_without_residual_adds() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    found = find_roles(model, example=torch.zeros(2, 4))
    assert (found.layers, found.residuals, found.width) == (None, None, None)
    assert {name: each.roles for name, each in found.tensors.items()} == {
        "0.weight": ("stem",),
        "2.weight": ("head",),
    }


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (nn.Embedding(9, 4), "torch.zeros(2, 8, dtype=torch.long)"),
        (nn.Linear(6, 3), "torch.zeros(2, 6)"),
        (nn.Conv1d(5, 3, 3), "torch.zeros(2, 5, 32)"),
        (nn.Conv2d(4, 3, 3), "torch.zeros(2, 4, 32, 32)"),
        (nn.Conv3d(1, 3, 3), "torch.zeros(2, 1, 32, 32, 32)"),
    ],
)
def test_an_example_that_is_asked_for_fits_the_first_layer(layer: nn.Module, shown: str) -> None:
    with pytest.raises(RoleError, match="what it takes as input is not known") as raised:
        find_roles(nn.Sequential(layer))
    assert f"example=({shown},) in code" in str(raised.value.fix)
    layer(eval(shown, {"torch": torch}))

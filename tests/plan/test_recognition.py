"""Recognition: from a plan to the schemes that say the same, and never to one that does not."""

from __future__ import annotations

import gc
import json
import math
import pickle

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg.errors import PlanError

DEPTH = 6


class Block(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(
        self, scale: float = 1 / math.sqrt(2 * DEPTH), std: float = 0.02, head: float = 0.02
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.head = nn.Linear(32, 50)
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(module.weight, std=std * (scale if name.endswith("down") else 1), b=2)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=head)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


EXAMPLE = (torch.zeros(2, 5, dtype=torch.long),)


def recognized(**written):
    return initcfg.trace(lambda: Net(**written)).recognize(example=EXAMPLE)


def test_a_scheme_whose_truncation_cuts_nothing():
    found = recognized()[0]
    # Both linears of each block, the embedding and the head.
    assert (found.scheme, dict(found.arguments), found.matched, found.but) == ("GPT2", {}, 14, ())
    assert str(found).startswith("this is GPT2(), in 14 tensors")
    assert initcfg.plan(Net(), found.rule, example=EXAMPLE)[
        "blocks.3.down.weight"
    ].value.std == pytest.approx(0.02 / math.sqrt(12))


def test_its_number_is_taken_from_the_plan():
    found = recognized(std=0.01, head=0.01)[0]
    assert (found.scheme, dict(found.arguments), found.but) == ("GPT2", {"std": 0.01}, ())


def test_what_differs_is_named():
    found = recognized(head=0.5)[0]
    assert (found.scheme, found.but) == ("GPT2", ("head.weight",))
    assert "but for head.weight" in str(found)


@pytest.mark.parametrize("scale", [1.0, 1 / math.sqrt(2 * DEPTH) * 1.001, 0.5])
def test_without_its_scale_it_is_another(scale):
    assert "GPT2" not in [each.scheme for each in recognized(scale=scale)]


def test_what_torch_does_is_none_of_them():
    plan = initcfg.trace(lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    assert plan.recognize() == []


def test_a_plan_without_its_model():
    plan = initcfg.Plan.from_json(initcfg.plan(Net(), dict(type="GPT2"), example=EXAMPLE).to_json())
    with pytest.raises(PlanError, match="recognized on a model"):
        plan.recognize()
    assert plan.recognize(Net(), example=EXAMPLE)[0].scheme == "GPT2"


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "net_of_mine.py").write_text(
        "from torch import nn\n"
        "def build() -> nn.Module:\n"
        "    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n"
        "    nn.init.normal_(model[0].weight, std=0.5)\n"
        "    return model\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(["trace", "net_of_mine:build", "--recognize"])
    assert capsys.readouterr().out == "No scheme of the catalogue amounts to this.\n"
    with pytest.raises(SystemExit, match="0"):
        main(["trace", "net_of_mine:build", "--recognize", "--json"])
    assert json.loads(capsys.readouterr().out) == []


def test_one_std_for_all_is_no_scheme():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
            for layer in (self.layers[0], self.layers[2]):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    assert initcfg.trace(Plain).recognize() == []


def test_what_every_library_has_is_no_scheme():
    class Convolutions(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
            for layer in (self.layers[0], self.layers[3]):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

        def forward(self, x):
            return self.layers(x)

    assert initcfg.trace(Convolutions).recognize(example=(torch.zeros(2, 3, 9, 9),)) == []


def test_a_scheme_for_a_part_says_so():
    class Scaled(Block):
        def __init__(self, width=32):
            super().__init__(width)
            self.gamma = nn.Parameter(torch.full((width,), 1e-5))

        def forward(self, x):
            return x + self.gamma * self.down(nn.functional.gelu(self.up(self.norm(x))))

    def make():
        model = nn.Sequential(nn.Linear(4, 32), *(Scaled() for _ in range(3)))
        for name, parameter in model.named_parameters():
            if name.endswith("up.weight"):
                nn.init.uniform_(parameter, -0.3, 0.1)
        return model

    found = initcfg.trace(make).recognize(example=(torch.zeros(2, 4),))
    assert [(each.rule, each.matched, each.silent) for each in found] == [
        ({"type": "LayerScale", "value": pytest.approx(1e-5, rel=1e-6)}, 3, 3)
    ]
    assert "it says nothing" in str(found[0])


def test_a_scale_divides_as_code_does():
    plan = initcfg.plan(Net(), dict(type="GPT2"), example=EXAMPLE)
    stds = {plan[f"blocks.{i}.down.weight"].value.std for i in range(DEPTH)}
    # 0.02 * (1 / sqrt(12)) has another last digit.
    assert stds == {0.02 / math.sqrt(2 * DEPTH)} != {0.02 * (1 / math.sqrt(2 * DEPTH))}


def test_roles_that_cannot_be_seen_are_told(caplog):
    with caplog.at_level("WARNING"):
        assert initcfg.trace(Net).recognize() == []
    assert "are not recognized here" in caplog.text and "example=" in caplog.text


def test_the_command_takes_an_example(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_net.py").write_text(
        "from test_recognition import EXAMPLE, Net\n\n"
        "def build() -> Net:\n    return Net()\n\n"
        "def ids():\n    return EXAMPLE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(["trace", "own_net:build", "--recognize", "--example", "own_net.py:ids"])
    assert capsys.readouterr().out.startswith("this is GPT2(), in 14 tensors")


def test_a_scheme_for_the_whole_says_what_it_leaves():
    class WithTable(Net):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(4, 32))

    plan = initcfg.plan(WithTable(), dict(type="GPT2"), example=EXAMPLE)
    assert "init_cfg: GPT2 leaves 1 of 15 matrices as they were constructed: table" in plan.notes
    both = [dict(type="GPT2"), dict(type="Normal", param="table", std=1)]
    assert (
        initcfg.plan(WithTable(), both, example=EXAMPLE).notes
        == initcfg.plan(Net(), both[:1], example=EXAMPLE).notes
    )


def test_a_plan_remembers_what_it_was_made_with():
    model = Net()
    plan = initcfg.plan(model, dict(type="GPT2", std=0.03), example=EXAMPLE)
    assert plan.recognize()[0].rule == {"type": "GPT2", "std": 0.03}
    assert plan.recognize(Net())[0].rule == {"type": "GPT2", "std": 0.03}
    roles = dict(residual_out="*.down.weight", blocks="blocks")
    declared = initcfg.plan(model, dict(type="GPT2"), roles=roles)
    assert declared.recognize()[0].scheme == "GPT2"
    # It keeps neither the model nor an example in what is stored.
    assert pickle.loads(pickle.dumps(plan)).given is None
    assert initcfg.Plan.from_json(plan.to_json()) == plan
    del model
    gc.collect()
    with pytest.raises(PlanError, match="on a model, and this plan knows only its tensors"):
        plan.recognize()


def test_a_config_remembers_it_for_its_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_config.py").write_text(
        "from test_recognition import EXAMPLE, Net\ndef ids():\n    return EXAMPLE\n"
    )
    (tmp_path / "c.py").write_text("model = dict(type='of_config:Net')\nexample = 'of_config.py:ids'\n")
    model = initcfg.build("c.py", init=False)
    assert initcfg.plan(model, dict(type="GPT2")).recognize()[0].scheme == "GPT2"
    done = CliRunner().invoke(main, ["trace", "c.py", "--recognize"])
    assert done.exit_code == 0 and done.output.startswith("this is GPT2("), done.output


class Offsets(nn.Module):
    """Deformable attention that keeps its numbers as libraries do, and rounds in float32."""

    def __init__(self, n_heads: int = 2, n_levels: int = 3, n_points: int = 2) -> None:
        super().__init__()
        self.n_heads, self.n_levels = n_heads, n_levels
        self.sampling_offsets = nn.Linear(8, 2 * n_heads * n_levels * n_points)
        self.attention_weights = nn.Linear(8, n_heads * n_levels * n_points)
        self.value_proj, self.output_proj = nn.Linear(8, 8), nn.Linear(8, 8)
        angles = torch.arange(n_heads) * (2 * math.pi / n_heads)
        ring = torch.stack([angles.cos(), angles.sin()], -1)
        ring = (ring / ring.abs().max(-1, keepdim=True)[0]).view(n_heads, 1, 1, 2)
        ring = ring.repeat(1, n_levels, n_points, 1) * torch.arange(1, n_points + 1).view(1, 1, -1, 1)
        with torch.no_grad():
            nn.init.zeros_(self.sampling_offsets.weight)
            self.sampling_offsets.bias.copy_(ring.reshape(-1))
            for each in (self.attention_weights.weight, self.attention_weights.bias):
                nn.init.zeros_(each)
            for layer in (self.value_proj, self.output_proj):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offsets = self.sampling_offsets(x).tanh().sum(-1, keepdim=True)
        return self.output_proj(self.value_proj(x) * offsets)


def test_attention_says_its_heads_and_levels_itself():
    found = initcfg.trace(lambda: nn.ModuleDict({"attn": Offsets()})).recognize(example=torch.zeros(2, 8))
    assert [(each.scheme, dict(each.arguments), each.but) for each in found] == [
        ("DeformableAttnOffsets", {}, ())
    ]


class Tokens(nn.Module):
    """A vision transformer's linears and small gates, over a convolution of patches."""

    def __init__(self, kernel: float | None) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.ModuleList(Block(16) for _ in range(3))
        for module in self.modules():
            if isinstance(module, Block):
                module.gamma = nn.Parameter(torch.full((16,), 1e-6))
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if kernel is not None:
            nn.init.trunc_normal_(self.patches.weight, std=kernel)
            nn.init.zeros_(self.patches.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block.gamma * (block(x) - x)
        return x


@pytest.mark.parametrize(("kernel", "is_one"), [(0.02, True), (None, False)])
def test_a_scheme_of_matrices_and_kernels_needs_both(kernel, is_one):
    found = initcfg.trace(lambda: Tokens(kernel)).recognize(example=torch.zeros(2, 3, 8, 8))
    assert ("ConvNeXt" in [each.scheme for each in found]) is is_one

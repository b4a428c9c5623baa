"""Transfer across widths: models of transformers and timm, the packages ``mup`` and ``unit_scaling``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg._model import compare_widths, shapes_of

pytestmark = [pytest.mark.peers, pytest.mark.hf, pytest.mark.lightning, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def coordinates() -> Any:
    """The benchmark, which has the models and their widths."""
    path = Path(__file__).parents[2] / "benchmarks" / "coordinates.py"
    specification = importlib.util.spec_from_file_location("benchmark_coordinates", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "modules"),
    [("GPT-2, untied", 43), ("Llama", 45), ("timm ViT", 75)],
    ids=["gpt2", "llama", "vit"],
)
def test_outputs_keep_their_size_over_the_width(coordinates, name, modules, tables) -> None:
    found = coordinates.check(name, "MuP", 3, 3)
    assert found["widths"] == [64, 128, 256, 512]
    slopes = {each: entry["slope"] for each, entry in found["modules"].items()}
    assert len(slopes) == modules
    assert max(map(abs, slopes.values())) <= 0.1
    assert found["passes"]
    # Whatever the width, the loss falls as much.
    falls = [row[0] - row[-1] for row in found["losses"]]
    assert min(falls) > 0.4
    beside = coordinates.check(name, "one std", 1, 3)
    steep = {each: entry["slope"] for each, entry in beside["modules"].items()}
    assert not beside["passes"]
    assert max(steep.values()) > 1.2
    rows = tables.setdefault("slopes of log |output| on log width, 64 to 512, after 3 steps", [])
    rows.append(
        {
            "model": name,
            "MuP": f"{max(slopes.values(), key=abs):+.3f}",
            "one std": f"{max(steep.values()):+.3f}",
        }
    )


LLAMA = dict(num_hidden_layers=2, vocab_size=1000, tie_word_embeddings=False, head_dim=16)
TWO_BUILDS = {
    "gpt2": (
        dict(type="hf:GPT2LMHeadModel", n_layer=2, n_head=4),
        [dict(n_embd=64), dict(n_embd=128)],
        dict(hidden=8, input=2, vector=18),
        ["lm_head.weight"],
    ),
    "llama": (
        dict(type="hf:LlamaForCausalLM", **LLAMA),
        [
            dict(
                hidden_size=64 * m,
                intermediate_size=128 * m,
                num_attention_heads=4 * m,
                num_key_value_heads=2 * m,
            )
            for m in (1, 2)
        ],
        dict(hidden=14, input=1, output=1, vector=5),
        [],
    ),
    "vit": (
        dict(type="timm:vit_tiny_patch16_224", depth=2),
        [dict(embed_dim=192), dict(embed_dim=384)],
        dict(hidden=8, output=1, fixed=1),
        [],
    ),
    "bert": (
        dict(type="hf:BertForMaskedLM", num_hidden_layers=2, num_attention_heads=4),
        [dict(hidden_size=64, intermediate_size=128), dict(hidden_size=128, intermediate_size=256)],
        dict(hidden=13, input=3, vector=25, fixed=1),
        ["bert.embeddings.word_embeddings.weight"],
    ),
}


@pytest.mark.parametrize("name", list(TWO_BUILDS))
def test_two_builds_tell_what_grows(name) -> None:
    common, (narrow, wide), counts, tied = TWO_BUILDS[name]
    base, model = (initcfg.build({**common, **each}, init=False) for each in (narrow, wide))
    found = compare_widths(model, shapes_of(base))
    kinds = [each.kind for each in found.tensors.values()]
    assert {kind: kinds.count(kind) for kind in counts} == counts
    assert sum(each.kind == "fixed" for each in found.tensors.values()) == counts.get("fixed", 0)
    assert found.tied == tied
    for each in found.tensors.values():
        ratios = {a / b for a, b in zip(each.shape, each.base_shape, strict=True)}
        assert ratios <= {1.0, 2.0}
    if name == "vit":
        assert found.tensors["patch_embed.proj.weight"].kind == "input"
        assert found.tensors["head.weight"].kind == "output"
        assert found.tensors["head.bias"].kind == "fixed"


class Residual(nn.Module):
    """Attention and an MLP, with heads of a fixed size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix, self.back = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.heads = width // 8
        self.second, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.mix(self.norm(x)).chunk(3, -1)
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in parts)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.back(seen.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.second(x))))


class Decoder(nn.Module):
    def __init__(self, width: int, head: Callable[..., nn.Module] = nn.Linear) -> None:
        super().__init__()
        self.table = nn.Embedding(40, width)
        self.blocks = nn.ModuleList(Residual(width) for _ in range(2))
        self.head = head(width, 40)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class MLP(nn.Module):
    def __init__(self, width: int, head: Callable[..., nn.Module] = nn.Linear) -> None:
        super().__init__()
        self.table, self.up, self.across = nn.Embedding(40, 16), nn.Linear(16, width), nn.Linear(width, width)
        self.head = head(width, 40)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.across(functional.relu(self.up(self.table(tokens))))))


def of_mup(mup: Any, made: type, std: float) -> nn.Module:
    """The package's model, four times as wide as its base, filled by its own functions."""
    model = made(64, mup.MuReadout)
    mup.set_base_shapes(model, made(16, mup.MuReadout), delta=made(32, mup.MuReadout))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            mup.init.normal_(parameter, std=std)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("made", [MLP, Decoder])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_it_trains_as_the_package_mup(made, optimizer) -> None:
    mup = pytest.importorskip("mup")
    torch.manual_seed(0)
    theirs = of_mup(mup, made, 0.1).double()
    ours = made(64).double()
    plan = initcfg.plan(ours, dict(type="MuP", base=made(16), std=0.1, optimizer=optimizer))
    multiplied = {"head.weight": 1 / 4}
    for name, parameter in theirs.named_parameters():
        value = plan[name].value
        if parameter.dim() == 2:
            expected = value.args["std"] / multiplied.get(name, 1.0)
            assert abs(parameter.std().item() / expected - 1) < 4 / (2 * parameter.numel()) ** 0.5
        with torch.no_grad():
            ours.get_parameter(name).copy_(parameter * multiplied.get(name, 1.0))
    numbers: dict[str, Any] = dict(lr=0.5 if optimizer == "sgd" else 1e-2, weight_decay=0.01)
    extra = {} if optimizer == "sgd" else {"eps": 1e-4}
    known = {"adamw": "MuAdamW", "adam": "MuAdam", "sgd": "MuSGD"}
    steps = getattr(mup, known[optimizer])(theirs.parameters(), **numbers, **extra)
    groups = initcfg.param_groups(ours, plan, **numbers, eps=1e-4, optimizer=optimizer)
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    rates = {id(each): group["lr"] for group in steps.param_groups for each in group["params"]}
    for group in groups:
        for name in group["names"]:
            # A factor c of the forward pass is c of Adam's rate, and c² of SGD's.
            c = multiplied.get(name, 1.0) ** (2 if optimizer == "sgd" else 1)
            assert group["lr"] == pytest.approx(rates[id(theirs.get_parameter(name))] * c, rel=1e-12)
    tokens = torch.randint(0, 40, (8, 12))
    losses: list[list[float]] = []
    for model, stepping in ((theirs, steps), (ours, kinds[optimizer](groups))):
        losses.append([])
        for _ in range(20):
            loss = functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
            losses[-1].append(loss.item())
            stepping.zero_grad()
            loss.backward()
            stepping.step()
    assert losses[0][-1] < losses[0][0] - 0.03
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-10


def of_unit_scaling(uu: Any) -> nn.Module:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = uu.Embedding(40, 64)
            tau = uu.transformer_residual_scaling_rule()
            self.blocks = uu.DepthSequential(
                *(
                    uu.TransformerLayer(64, 4, tau(2 * at, 6), tau(2 * at + 1, 6), is_causal=True)
                    for at in range(3)
                )
            )
            self.norm = uu.LayerNorm(64, elementwise_affine=True)
            self.head = uu.LinearReadout(64, 40, bias=True)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.blocks(self.table(tokens))))

    return Model()


def test_rates_and_sizes_are_those_of_unit_scaling() -> None:
    uu = pytest.importorskip("unit_scaling")
    torch.manual_seed(0)
    model = of_unit_scaling(uu)
    plan = initcfg.plan(model, dict(type="UMuP"))
    groups = initcfg.param_groups(model, plan, lr=1.0)
    ours = {name: group["lr"] for group in groups for name in group["names"]}
    theirs = uu.optim.Adam(model.parameters(), lr=1.0)
    rates = {id(each): group["lr"] for group in theirs.param_groups for each in group["params"]}
    expected = {name: rates[id(each)] for name, each in model.named_parameters()}
    assert ours == pytest.approx(expected, rel=1e-12)
    assert len(set(ours.values())) >= 4
    before = {name: each.std().item() for name, each in model.named_parameters() if each.dim() > 1}
    plan.apply(model, seed=0)
    for name, std in before.items():
        drawn = model.get_parameter(name)
        assert plan[name].value.args["std"] == 1.0
        assert abs(drawn.std().item() / std - 1) < 6 / (2 * drawn.numel()) ** 0.5
    tokens = torch.randint(0, 40, (8, 32))
    assert 0.3 < model.blocks(model.table(tokens)).std().item() < 2.0


def small_llama() -> tuple[nn.Module, initcfg.Plan]:
    size = dict(hidden_size=64, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4)
    narrow = dict(hidden_size=16, intermediate_size=16, num_attention_heads=1, num_key_value_heads=1)
    config = dict(type="hf:LlamaForCausalLM", **{**LLAMA, "vocab_size": 40}, **size)
    model = initcfg.build({**config, "init_cfg": dict(type="MuP", base=narrow, std=0.05)}, init=False)
    plan = initcfg.plan(model)
    plan.apply(model, seed=0)
    return model, plan


def ratios(optimizer: Any) -> list[float]:
    """Rates of the groups as parts of that which has no multiplier."""
    found = [group["lr"] for group in optimizer.param_groups]
    return [each / max(found) for each in found]


def test_the_trainer_of_transformers_keeps_the_ratios(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model, plan = small_llama()
    groups = initcfg.param_groups(model, plan, lr=1e-2, weight_decay=0.1, no_decay=["*norm*"])
    optimizer = torch.optim.AdamW(groups)
    assert sorted(set(ratios(optimizer))) == [0.25, 1.0]
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, 2, 20)
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, 8, (64, 12), generator=generator)
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=10,
        per_device_train_batch_size=8,
        report_to=[],
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=[dict(input_ids=row, labels=row) for row in text],
        optimizers=(optimizer, schedule),
    )
    trainer.train()
    losses = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.3
    assert schedule.last_epoch == 10
    stepping = trainer.optimizer
    assert max(group["lr"] for group in stepping.param_groups) < 0.8e-2
    assert sorted({round(each, 12) for each in ratios(stepping)}) == [0.25, 1.0]
    assert {group["weight_decay"] for group in stepping.param_groups} == {0.0, 0.1, 0.4}


def test_lightning_keeps_the_ratios(tmp_path) -> None:
    lightning = pytest.importorskip("lightning")
    model, plan = small_llama()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.losses: list[float] = []

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            loss = self.model(input_ids=batch, labels=batch).loss
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = torch.optim.AdamW(initcfg.param_groups(self.model, plan, lr=1e-2))
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    text = torch.randint(0, 8, (80, 12), generator=torch.Generator().manual_seed(0))
    module = Module()
    trainer = lightning.Trainer(
        max_steps=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )
    trainer.fit(module, torch.utils.data.DataLoader(text, batch_size=8))
    assert len(module.losses) == 10
    assert module.losses[-1] < module.losses[0] - 0.3
    stepping = trainer.optimizers[0]
    assert max(group["lr"] for group in stepping.param_groups) < 0.6e-2
    assert sorted({round(each, 12) for each in ratios(stepping)}) == [0.25, 1.0]


@pytest.mark.parametrize(("name", "gain"), [("Gemma2", -2 / 3), ("Olmo2", 1 / 3)])
def test_norms_that_end_branches_have_the_factor_of_the_depth(name, gain) -> None:
    size = dict(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=4)
    config = dict(type=f"hf:{name}ForCausalLM", **size, vocab_size=100, tie_word_embeddings=False)
    if name == "Gemma2":
        config["head_dim"] = 16
    model = initcfg.build(dict(config, num_hidden_layers=6), init=False)
    plan = initcfg.plan(model, dict(type="CompleteP", base=dict(num_hidden_layers=2)))
    for last in ("post_attention_layernorm", "post_feedforward_layernorm"):
        found = plan[f"model.layers.3.{last}.weight"]
        assert found.value.args["val"] == pytest.approx(gain)
        assert found.tune["lr"] == pytest.approx(1 / 3)
    assert plan["model.layers.3.mlp.down_proj.weight"].tune["lr"] == 1.0

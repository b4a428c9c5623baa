"""The models of diagnose.py: broken in a known way, and healthy as their libraries make them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional, init

CLASSES, WORDS = 10, 200


def operators() -> None:
    """Stand-ins for torchvision's compiled operators, where the wheel has none for this torch."""
    import importlib.util

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        folder = importlib.util.find_spec("torchvision").submodule_search_locations[0]
        with open(f"{folder}/_meta_registrations.py", encoding="utf-8") as file:
            names = {*re.findall(r'register_fake\("torchvision::(\w+)"', file.read()), "nms", "qnms"}
        operators.library = torch.library.Library("torchvision", "FRAGMENT")
        for name in sorted(names):
            operators.library.define(f"{name}(Tensor a) -> Tensor")


@dataclass
class Case:
    """A model, what it is run on, and the codes of which one is expected; none of a healthy one."""

    build: Callable[[], nn.Module]
    batch: Callable[[], Any]
    expected: tuple[str, ...] = ()
    loss: Any = None
    options: dict[str, Any] = field(default_factory=dict)


# -- data ---------------------------------------------------------------------------------------------


def images(rows: int = 32, side: int = 32, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(rows, 3, 4, 4, generator=generator)
    fine = torch.randn(rows, 3, side, side, generator=generator)
    mixed = functional.interpolate(coarse, size=(side, side), mode="bilinear") + 0.3 * fine
    return (mixed - mixed.mean()) / mixed.std(), torch.randint(0, classes, (rows,), generator=generator)


def tokens(rows: int = 16, length: int = 24, words: int = WORDS, first: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    frequency = 1 / torch.arange(1.0, words + 1 - first)
    drawn = torch.multinomial(frequency, rows * length, True, generator=generator)
    return drawn.view(rows, length) + first


def text(**more: int) -> Callable[[], dict[str, torch.Tensor]]:
    def batch() -> dict[str, torch.Tensor]:
        ids = tokens(**more)
        return {"input_ids": ids, "labels": ids}

    return batch


def pairs(rows: int = 32, side: int = 32) -> Callable[[], Any]:
    return lambda: images(rows, side)


# -- parts --------------------------------------------------------------------------------------------


def changed(model: nn.Module, pattern: str, change: Callable[[torch.Tensor], Any]) -> nn.Module:
    """The model, with a change of the parameters whose names have this pattern."""
    found = [each for name, each in model.named_parameters() if re.search(pattern, name)]
    assert found, pattern
    with torch.no_grad():
        for each in found:
            change(each)
    return model


def perceptron(
    depth: int = 12,
    act: Any = nn.ReLU,
    start: Any = None,
    bias: float | None = None,
    width: int = 64,
    entering: int = 192,
    classes: int = CLASSES,
) -> nn.Sequential:
    sizes = [entering, *[width] * depth]
    parts: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        parts += [nn.Linear(before, after), act()]
    model = nn.Sequential(*parts, nn.Linear(width, classes))
    layers = [each for each in model if isinstance(each, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            if start is not None:
                start(layer.weight)
                layer.bias.zero_()
        for layer in layers[:-1] if bias is not None else ():
            layer.bias.fill_(bias)
    return model


class PlainConvolutions(nn.Module):
    """Convolutions without norms or skips."""

    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        sizes = [3, *[width] * depth]
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(sizes)]
        self.body = nn.Sequential(*(part for each in layers for part in (each, nn.ReLU())))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Branch(nn.Module):
    def __init__(self, width: int, gain: float, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        for each in (self.up, self.down):
            init.kaiming_normal_(each.weight)
            init.zeros_(each.bias)
        with torch.no_grad():
            self.down.weight *= gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.up(self.norm(x)).relu())


class Residual(nn.Module):
    """Residual blocks on 192 numbers, with norms or without."""

    def __init__(self, depth: int = 24, width: int = 64, gain: float = 1.0, norm: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(192, width)
        self.blocks = nn.ModuleList(Branch(width, gain, norm) for _ in range(depth))
        self.leave = nn.Sequential(*([nn.LayerNorm(width)] if norm else []), nn.Linear(width, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.leave(x)


class Forgotten(nn.Module):
    """One layer is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.lost, self.leave = nn.Linear(192, 32), nn.Linear(32, 32), nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.enter(x.flatten(1)).relu())


class LowRank(nn.Module):
    """A layer with an update of low rank, both of whose factors are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.leave = nn.Linear(192, 32), nn.Linear(32, CLASSES)
        self.down, self.up = nn.Linear(192, 4, bias=False), nn.Linear(4, 32, bias=False)
        init.zeros_(self.down.weight)
        init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.leave((self.base(x) + self.up(self.down(x))).relu())


class Recurrent(nn.Module):
    """A language model with a recurrent layer."""

    def __init__(self, kind: str = "GRU", factor: float = 1.0, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.cells = getattr(nn, kind)(width, width, 2, batch_first=True)
        self.head = nn.Linear(width, WORDS)
        with torch.no_grad():
            for each in self.cells.parameters():
                each *= factor

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(self.embed(ids))[0])


_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": WORDS,
}
_QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def gpt2(layers: int = 6, **more: Any) -> nn.Module:
    import transformers

    config = transformers.GPT2Config(n_layer=layers, n_embd=64, n_head=4, vocab_size=WORDS, **more)
    return transformers.GPT2LMHeadModel(config)


def language(name: str, kind: str = "ForCausalLM", **more: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(**{**_SMALL, **more})
        return getattr(transformers, f"{name}{kind}")(config)

    return build


def llama(**more: Any) -> nn.Module:
    return language("Llama", num_key_value_heads=2, **more)()


def vision(name: str, **more: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=CLASSES, **more)

    return build


def torch_vision(name: str, **more: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(num_classes=CLASSES, **more)

    return build


def small_vit() -> nn.Module:
    return vision("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=4)()


def raw_pixels() -> Any:
    pixels, labels = images(64, 8)
    return (pixels * 50 + 128).clamp(0, 255), labels


def rare_class() -> Any:
    return images(128, 8, 2)[0], (torch.arange(128) < 4).long()


_DATA = pairs(64, 8)
_lm = text()


def times(factor: float) -> Callable[[torch.Tensor], Any]:
    return lambda each: each.mul_(factor)


def _scaled_he(weight: torch.Tensor) -> None:
    init.kaiming_normal_(weight)
    weight.mul_(3)


def _broken_number(weight: torch.Tensor) -> None:
    weight[0, 0] = float("nan")


BROKEN: dict[str, Case] = {
    "mlp zeros": Case(lambda: perceptron(start=init.zeros_), _DATA, ("dead-parameter", "probe-stalls")),
    "mlp .01": Case(lambda: perceptron(start=lambda w: init.constant_(w, 0.01)), _DATA, ("symmetric-units",)),
    "mlp N(0, .02)": Case(
        lambda: perceptron(start=lambda w: init.normal_(w, 0, 0.02)),
        _DATA,
        ("activation-vanishes", "gradient-vanishes"),
    ),
    "mlp N(0, 1)": Case(
        lambda: perceptron(start=init.normal_), _DATA, ("activation-explodes", "initial-loss")
    ),
    "mlp 3 × He": Case(lambda: perceptron(start=_scaled_he), _DATA, ("activation-explodes", "initial-loss")),
    "mlp bias -3": Case(lambda: perceptron(4, start=init.kaiming_normal_, bias=-3.0), _DATA, ("dead-relu",)),
    "tanh N(0, 1)": Case(lambda: perceptron(act=nn.Tanh, start=init.normal_), _DATA, ("saturated",)),
    "sigmoid 12": Case(
        lambda: perceptron(act=nn.Sigmoid, start=init.xavier_uniform_),
        _DATA,
        ("gradient-vanishes", "input-lost"),
    ),
    "cnn 20": Case(
        lambda: PlainConvolutions(20),
        pairs(32, 16),
        ("activation-vanishes", "gradient-vanishes", "input-lost"),
    ),
    "residual 24": Case(Residual, _DATA, ("stream-grows",)),
    "gpt2 range 1": Case(lambda: gpt2(initializer_range=1.0), _lm, ("initial-loss",)),
    "gpt2 c_proj": Case(lambda: changed(gpt2(12), r"c_proj\.weight", times(2000)), _lm, ("stream-grows",)),
    "gpt2 wte": Case(lambda: changed(gpt2(), "wte", times(40)), _lm, ("initial-loss",)),
    "gpt2 c_attn": Case(lambda: changed(gpt2(), r"c_attn\.weight", times(60)), _lm, ("attention-collapsed",)),
    "llama q, k": Case(lambda: changed(llama(), "[qk]_proj", times(40)), _lm, ("attention-collapsed",)),
    "llama norms 0": Case(
        lambda: changed(llama(), "norm", torch.Tensor.zero_), _lm, ("dead-parameter", "probe-stalls")
    ),
    "llama a norm 0": Case(
        lambda: changed(llama(), r"layers\.1\.input_layernorm", torch.Tensor.zero_),
        _lm,
        ("starts-later", "dead-parameter"),
    ),
    "llama NaN": Case(
        lambda: changed(llama(), r"layers\.2\.mlp\.up", _broken_number), _lm, ("nonfinite-weight",)
    ),
    "llama 1e30": Case(
        lambda: changed(llama(), r"layers\.2\.mlp\.up", lambda w: w.fill_(1e30)),
        _lm,
        ("nonfinite-activation", "nonfinite-gradient", "symmetric-units"),
    ),
    "llama head": Case(lambda: changed(llama(), "lm_head", times(100)), _lm, ("initial-loss",)),
    "resnet18 bn 0": Case(
        lambda: changed(torch_vision("resnet18")(), r"bn\d\.weight", torch.Tensor.zero_),
        pairs(8),
        ("dead-parameter", "probe-stalls", "input-lost"),
    ),
    "resnet18 head": Case(
        lambda: changed(torch_vision("resnet18")(), r"fc\.weight", times(100)), pairs(8), ("initial-loss",)
    ),
    "vit patches 0": Case(
        lambda: changed(small_vit(), "patch_embed", torch.Tensor.zero_), pairs(16), ("input-lost",)
    ),
    "vit head N(0, 1)": Case(
        lambda: changed(small_vit(), r"^head\.weight", torch.Tensor.normal_), pairs(16), ("initial-loss",)
    ),
    "pixels 0..255": Case(lambda: perceptron(3), raw_pixels, ("input-scale",)),
    "lr 1": Case(lambda: perceptron(3), _DATA, ("update-too-large", "probe-diverges"), options={"lr": 1.0}),
    "lr 1e-8": Case(lambda: perceptron(3), _DATA, ("update-too-small", "probe-stalls"), options={"lr": 1e-8}),
    "sgd 1e-3": Case(
        lambda: perceptron(6, nn.Sigmoid),
        _DATA,
        ("probe-stalls", "update-too-small", "gradient-vanishes"),
        options={"optimizer": "sgd"},
    ),
    "unused layer": Case(Forgotten, _DATA, ("unused-parameter",)),
    "LoRA A = B = 0": Case(LowRank, _DATA, ("dead-parameter",)),
    "gpt2 attention 0": Case(
        lambda: changed(gpt2(), r"attn\.c_(attn|proj)\.weight", torch.Tensor.zero_), _lm, ("dead-parameter",)
    ),
    "gpt2 bf16, lr 1e-5": Case(lambda: gpt2().bfloat16(), _lm, ("bf16-no-update",), options={"lr": 1e-5}),
    "llama float16": Case(
        lambda: changed(llama(), "(gate|up)_proj", times(1500)),
        _lm,
        ("fp16-overflow",),
        options={"dtype": "float16"},
    ),
    "GRU × 8": Case(
        lambda: Recurrent("GRU", 8.0), tokens, ("saturated", "gradient-explodes", "initial-loss")
    ),
    "class prior": Case(lambda: perceptron(3, classes=2), rare_class, ("class-prior",)),
    "rows averaged": Case(
        lambda: changed(
            llama(), "embed_tokens|up_proj", lambda w: w.copy_(w.mean(0, keepdim=True).expand_as(w))
        ),
        _lm,
        ("symmetric-units",),
    ),
}


def _encoder_decoder() -> dict[str, torch.Tensor]:
    ids = tokens(first=1)
    return {"input_ids": ids, "decoder_input_ids": ids, "labels": ids}


def _five_classes() -> dict[str, torch.Tensor]:
    return {"input_ids": tokens(first=1), "labels": torch.arange(16) % 5}


_clean = text(first=1)

HEALTHY: dict[str, Case] = {
    "tv shufflenet": Case(torch_vision("shufflenet_v2_x0_5"), pairs(16)),
    "tv squeezenet": Case(torch_vision("squeezenet1_1"), pairs(16, 64)),
    "tv resnet18": Case(torch_vision("resnet18"), pairs(16)),
    "tv resnet50": Case(torch_vision("resnet50"), pairs(16, 64)),
    "tv vgg11": Case(torch_vision("vgg11"), pairs(16, 64)),
    "tv vgg11_bn": Case(torch_vision("vgg11_bn"), pairs(16, 64)),
    "tv alexnet": Case(torch_vision("alexnet"), pairs(32, 64)),
    "tv mobilenet_v3": Case(torch_vision("mobilenet_v3_small"), pairs(16, 64)),
    "tv densenet121": Case(torch_vision("densenet121"), pairs(8, 64)),
    "tv efficientnet": Case(torch_vision("efficientnet_b0"), pairs(8, 64)),
    "timm vit_tiny": Case(vision("vit_tiny_patch16_224", img_size=32, patch_size=8), pairs(16)),
    "timm vit jax": Case(
        vision("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=6, weight_init="jax"), pairs(16)
    ),
    "timm deit3": Case(vision("deit3_small_patch16_224", img_size=32, patch_size=8, depth=4), pairs(16)),
    "timm swin": Case(
        vision("swin_tiny_patch4_window7_224", img_size=56, depths=(2, 2, 2, 2), embed_dim=48), pairs(8, 56)
    ),
    "timm convnext": Case(vision("convnext_atto"), pairs(8, 64)),
    "timm mixer": Case(vision("mixer_s32_224", img_size=64), pairs(16, 64)),
    "timm regnety": Case(vision("regnety_002"), pairs(16, 64)),
    "timm resmlp": Case(vision("resmlp_12_224", img_size=64), pairs(16, 64)),
    "timm nf_resnet": Case(vision("nf_resnet26"), pairs(8, 64)),
    "timm gmlp": Case(vision("gmlp_ti16_224", img_size=64), pairs(8, 64)),
    "hf gpt2": Case(gpt2, _clean),
    "hf llama": Case(llama, _clean),
    "hf qwen3": Case(language("Qwen3", num_key_value_heads=2, head_dim=16), _clean),
    "hf gpt_neox": Case(language("GPTNeoX"), _clean),
    "hf gemma2": Case(language("Gemma2", num_key_value_heads=2, head_dim=16), _clean),
    "hf mixtral": Case(language("Mixtral", num_key_value_heads=2, num_local_experts=4), _clean),
    "hf bert mlm": Case(language("Bert", "ForMaskedLM", **_QUIET), _clean),
    "hf bert": Case(language("Bert", "ForSequenceClassification", num_labels=5, **_QUIET), _five_classes),
    "hf t5": Case(
        language(
            "T5",
            "ForConditionalGeneration",
            num_layers=3,
            d_model=64,
            d_ff=128,
            d_kv=16,
            num_heads=4,
            decoder_start_token_id=0,
        ),
        _encoder_decoder,
    ),
    "hf mamba": Case(language("Mamba", state_size=8), _clean),
    "hf opt": Case(language("OPT", ffn_dim=128, word_embed_proj_dim=64), _clean),
}

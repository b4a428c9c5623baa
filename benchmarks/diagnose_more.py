"""Models that no threshold of a diagnosis was set on: broken ones of other kinds, and other healthy ones."""

from __future__ import annotations

from typing import Any

import torch
from diagnose_models import (
    _QUIET,
    Case,
    PlainConvolutions,
    Recurrent,
    Residual,
    _clean,
    _encoder_decoder,
    _five_classes,
    changed,
    gpt2,
    images,
    language,
    llama,
    pairs,
    perceptron,
    small_vit,
    times,
    tokens,
    torch_vision,
    vision,
)
from torch import nn
from torch.nn import functional, init

_DATA = pairs(64, 8)


class Encoder(nn.Module):
    """torch's own transformer on tokens."""

    def __init__(self, after: bool = False, layers: int = 4) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=not after)
        self.embed = nn.Embedding(200, 64)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 200)
        init.normal_(self.embed.weight, 0, 0.3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.body(self.embed(ids))))


class Segmenter(nn.Module):
    """A small network from images to classes of pixels."""

    def __init__(self, last: float = 1.0) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 5, 2, 2)
        with torch.no_grad():
            self.up.weight *= last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.middle(self.down(x)))


class Experts(nn.Module):
    """A mixture, one expert of which no token reaches."""

    def __init__(self, skip: bool = False) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(192, 32), nn.Linear(32, 10)
        self.gate = nn.Linear(32, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32)) for _ in "1234"
        )
        self.skip = skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x.flatten(1)).relu()
        shares = self.gate(x).softmax(-1)
        used = list(self.experts)[: -1 if self.skip else None]
        return self.leave(sum(shares[:, place, None] * each(x) for place, each in enumerate(used)))


class Contrast(nn.Module):
    """Two towers, whose products have a scale."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.left, self.right = perceptron(2, classes=32), perceptron(2, classes=32)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = (functional.normalize(each(x), dim=-1) for each in (self.left, self.right))
        return functional.cross_entropy(self.scale * a @ b.T, torch.arange(len(x)))


class Gated(nn.Module):
    """Sigmoid gates with a bias."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.enter, self.gate, self.leave = nn.Linear(192, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        init.constant_(self.gate.bias, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x.flatten(1))
        return self.leave(x * torch.sigmoid(self.gate(x)))


def pixels(classes: int = 5) -> Any:
    inputs, _ = images(8, 32)
    return inputs, torch.randint(0, classes, (8, 32, 32), generator=torch.Generator().manual_seed(0))


def whole_images() -> Any:
    return images(32, 8)[0]


def padded() -> dict[str, torch.Tensor]:
    ids = tokens()
    ids[:, ::6] = 0
    return {"input_ids": ids, "labels": ids}


def _orthogonal_large(weight: torch.Tensor) -> None:
    init.orthogonal_(weight, gain=8.0)


def _first_column(weight: torch.Tensor) -> None:
    weight.copy_(weight[:, :1].expand_as(weight))


def _infinite(weight: torch.Tensor) -> None:
    weight.view(-1)[3] = float("inf")


MORE_BROKEN: dict[str, Case] = {
    "encoder head × 60": Case(lambda: changed(Encoder(), "head", times(60)), tokens, ("initial-loss",)),
    "encoder qkv × 40": Case(
        lambda: changed(Encoder(), "in_proj_weight", times(40)), tokens, ("attention-collapsed",)
    ),
    "encoder norms 0": Case(
        lambda: changed(Encoder(), r"norm.*\.weight", torch.Tensor.zero_),
        tokens,
        ("dead-parameter", "starts-later"),
    ),
    "segmenter × 80": Case(lambda: Segmenter(80.0), pixels, ("initial-loss",)),
    "expert unused": Case(lambda: Experts(skip=True), _DATA, ("unused-parameter",)),
    "contrast × 200": Case(lambda: Contrast(200.0), whole_images, ("initial-loss",)),
    "gates shut": Case(lambda: Gated(-20.0), _DATA, ("saturated",)),
    "LSTM × 20": Case(lambda: Recurrent("LSTM", 20.0), tokens, ("saturated",)),
    "orthogonal × 8": Case(
        lambda: perceptron(10, nn.GELU, _orthogonal_large), _DATA, ("activation-explodes", "initial-loss")
    ),
    "cnn 30 N(0, .01)": Case(
        lambda: changed(PlainConvolutions(30), "body.*weight", lambda w: w.normal_(0, 0.01)),
        pairs(16, 16),
        ("activation-vanishes", "input-lost", "gradient-vanishes"),
    ),
    "gemma padding": Case(
        language("Gemma2", num_key_value_heads=2, head_dim=16), padded, ("zero-into-norm",)
    ),
    "qwen inf": Case(
        lambda: changed(language("Qwen2", num_key_value_heads=2)(), r"layers\.1\.mlp\.down", _infinite),
        _clean,
        ("nonfinite-weight",),
    ),
    "neox all dense .5": Case(
        lambda: changed(language("GPTNeoX")(), "embed_out|lm_head", lambda w: w.normal_(0, 2)),
        _clean,
        ("initial-loss",),
    ),
    "opt values 0": Case(
        lambda: changed(
            language("OPT", ffn_dim=128, word_embed_proj_dim=64)(), "(v_proj|out_proj)", torch.Tensor.zero_
        ),
        _clean,
        ("dead-parameter",),
    ),
    "residual gain 3": Case(lambda: Residual(16, gain=3.0), _DATA, ("stream-grows",)),
    "resnet18 convs equal": Case(
        lambda: changed(torch_vision("resnet18")(), r"conv1\.weight", lambda w: w.copy_(w[:1].expand_as(w))),
        pairs(8),
        ("symmetric-units",),
    ),
    "vit mlp bias -30": Case(
        lambda: changed(
            perceptron(4, nn.ReLU6), r"2|4.*bias|bias", lambda b: b.fill_(-5) if b.dim() == 1 else b
        ),
        _DATA,
        ("dead-relu", "dead-parameter"),
    ),
    "tiny input": Case(
        lambda: perceptron(3), lambda: (images(64, 8)[0] * 1e-3, images(64, 8)[1]), ("input-scale",)
    ),
    "vit lr 3": Case(small_vit, pairs(8), ("probe-diverges", "update-too-large"), options={"lr": 3.0}),
    "llama frozen bf16": Case(lambda: llama().bfloat16(), _clean, ("bf16-no-update",), options={"lr": 2e-6}),
}


def _head(name: str, **more: Any) -> Case:
    return Case(language(name, **more), _clean)


_GROUPED: dict[str, Any] = {"num_key_value_heads": 2}

MORE_HEALTHY: dict[str, Case] = {
    "torch encoder": Case(Encoder, tokens),
    "torch encoder post": Case(lambda: Encoder(after=True), tokens),
    "segmenter": Case(Segmenter, pixels),
    "experts": Case(Experts, _DATA),
    "contrast": Case(lambda: Contrast(5.0), whole_images),
    "gates": Case(lambda: Gated(0.0), _DATA),
    "GRU": Case(Recurrent, tokens),
    "LSTM": Case(lambda: Recurrent("LSTM"), tokens),
    "mlp 3": Case(lambda: perceptron(3), _DATA),
    "mlp tanh 6": Case(lambda: perceptron(6, nn.Tanh, init.xavier_uniform_), _DATA),
    "mlp gelu 6 He": Case(lambda: perceptron(6, nn.GELU, init.kaiming_normal_), _DATA),
    "residual norm": Case(lambda: Residual(12, norm=True), _DATA),
    "cnn 3": Case(lambda: PlainConvolutions(3), pairs(32, 16)),
    "hf qwen2": _head("Qwen2", **_GROUPED),
    "hf mistral": _head("Mistral", **_GROUPED),
    "hf phi": _head("Phi"),
    "hf gemma": _head("Gemma", head_dim=16, **_GROUPED),
    "hf olmo": _head("Olmo", pad_token_id=0),
    "hf olmo2": _head("Olmo2", pad_token_id=0),
    "hf falcon": _head("Falcon"),
    "hf bloom": Case(language("Bloom", n_layer=4, n_head=4), _clean),
    "hf stablelm": _head("StableLm", num_key_value_heads=4),
    "hf cohere": _head("Cohere", pad_token_id=None),
    "hf granite": _head("Granite"),
    "hf gpt_neo": Case(
        language(
            "GPTNeo",
            num_layers=4,
            num_heads=4,
            attention_types=[[["global", "local"], 2]],
            max_position_embeddings=64,
        ),
        _clean,
    ),
    "hf gptj": Case(language("GPTJ", n_embd=64, n_layer=4, n_head=4, rotary_dim=8), _clean),
    "hf roberta": Case(language("Roberta", "ForMaskedLM", pad_token_id=0, **_QUIET), _clean),
    "hf electra": Case(
        language("Electra", "ForSequenceClassification", num_labels=5, embedding_size=64, **_QUIET),
        _five_classes,
    ),
    "hf distilbert": Case(
        language(
            "DistilBert",
            "ForSequenceClassification",
            num_labels=5,
            dim=64,
            hidden_dim=128,
            n_layers=4,
            n_heads=4,
        ),
        _five_classes,
    ),
    "hf bart": Case(
        language(
            "Bart",
            "ForConditionalGeneration",
            d_model=64,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=2,
        ),
        _encoder_decoder,
    ),
    "gpt2 12": Case(lambda: gpt2(12), _clean),
    "timm vit relpos": Case(
        vision("vit_relpos_small_patch16_224", img_size=32, patch_size=8, depth=3, embed_dim=96, num_heads=3),
        pairs(8),
    ),
    "timm poolformer": Case(vision("poolformer_s12"), pairs(4, 64)),
    "timm resnet10t": Case(vision("resnet10t"), pairs(8, 64)),
    "timm mobilenetv2": Case(vision("mobilenetv2_035"), pairs(8, 64)),
    "timm repvgg_a0": Case(vision("repvgg_a0"), pairs(8, 64)),
    "timm lcnet": Case(vision("lcnet_035"), pairs(8, 64)),
    "timm edgenext": Case(vision("edgenext_xx_small"), pairs(8, 64)),
    "timm tinynet_e": Case(vision("tinynet_e"), pairs(8, 64)),
    "timm byobnet": Case(vision("test_byobnet"), pairs(16, 64)),
}

"""Kinds of residual adds, and of adds that are none, each in a model of a few lines."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, scaled_dot_product_attention

from initcfg._model.roles import find_roles


def ends(model: nn.Module, *example: torch.Tensor) -> set[str]:
    """The weights that end a residual branch."""
    found = find_roles(model, example=example).tensors
    return {name.removesuffix(".weight") for name, each in found.items() if "residual_out" in each.roles}


IMAGE = torch.zeros(2, 8, 6, 6)
SEQUENCE = torch.zeros(2, 5, 8)


class Parallel(nn.Module):
    """As RepVGG: an identity under a batch norm, and two convolutions beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.identity = nn.BatchNorm2d(8)
        self.large, self.small = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.identity(x) + (self.large(x) + self.small(x)))


def test_an_identity_under_a_batch_norm() -> None:
    assert ends(nn.Sequential(Parallel(), Parallel()), IMAGE) == {"0.large", "0.small", "1.large", "1.small"}


class Decoder(nn.Module):
    """As DETR's: queries begin as zeros, and learned positions are added to them in each block."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(3, 8))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(8, 8) for name in ("q", "k", "v", "out", "up", "down")})
            for _ in range(blocks)
        )

    def forward(self, memory: torch.Tensor) -> torch.Tensor:
        positions = self.positions.expand(len(memory), -1, -1)
        x = torch.zeros_like(positions)
        for block in self.blocks:
            at = x + positions
            mixed = scaled_dot_product_attention(block["q"](at), block["k"](at), block["v"](x))
            x = x + block["out"](mixed)
            x = x + block["down"](torch.relu(block["up"](x + positions) + memory.mean(1, keepdim=True)))
        return x


def test_a_stream_that_begins_with_zeros() -> None:
    assert ends(Decoder(), SEQUENCE) == {f"blocks.{n}.{name}" for n in (0, 1) for name in ("out", "down")}


class Mixed(nn.Module):
    """As CondConv: each image has a kernel of its own, mixed out of four."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.routing = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.experts = nn.Parameter(torch.zeros(4, 8 * 8 * 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = (self.routing(x.mean((2, 3))).sigmoid() @ self.experts).view(-1, 8, 3, 3)
        y = self.first(x).view(1, -1, *x.shape[2:])
        return x + conv2d(y, kernel, padding=1, groups=len(x)).view_as(x)


def test_a_kernel_that_is_mixed_for_each_input() -> None:
    assert ends(Mixed(), IMAGE) == {"experts"}


class Receptance(nn.Module):
    """As RWKV's feed-forward: what multiplies the end of a branch does not end it."""

    def __init__(self) -> None:
        super().__init__()
        self.receptance, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.receptance(x).sigmoid() * self.value(self.key(x).relu() ** 2)


def test_what_multiplies_the_end_of_a_branch() -> None:
    model = nn.Sequential(Receptance(), Receptance())
    assert ends(model, SEQUENCE) == {"0.value", "1.value"}
    found = find_roles(model, example=(SEQUENCE,)).tensors
    assert found["1.receptance.weight"].roles == ("mlp_gate",)
    assert found["1.key.weight"].roles == ("mlp_in",)


class Recurrence(nn.Module):
    """A state that decays, and to which each step adds: no stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.gate, self.key, self.out = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        decay, key = self.gate(y).sigmoid(), self.key(y)
        state, states = torch.zeros_like(key[:, 0]), []
        for step in range(x.shape[1]):
            state = state * decay[:, step] + key[:, step]
            states.append(state)
        return x + self.out(torch.stack(states, 1))


def test_what_is_added_to_a_state() -> None:
    assert ends(Recurrence(), SEQUENCE) == {"out"}


class Loss(nn.Module):
    """How far a prediction is off the input is no branch of it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((self.down(self.up(x).relu()) - x) ** 2).mean()


class Denoise(Loss):
    """What is taken from the input is one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.down(self.up(x).relu())


def test_a_difference() -> None:
    assert ends(Loss(), SEQUENCE) == set()
    assert ends(Denoise(), SEQUENCE) == {"down"}


class Narrow(nn.Module):
    """As GhostNet: the skip is pooled by a depthwise convolution before its width changes."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.middle = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 3, 2, 1, groups=16)
        self.down = nn.Conv2d(16, 12, 1)
        self.shortcut = nn.Sequential(
            nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.BatchNorm2d(8), nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.middle(self.up(x).relu())) + self.shortcut(x)


class Searched(nn.Module):
    """As NASNet: two operations of equal depth beside each other, and no skip."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.right = nn.Sequential(nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


def test_a_shortcut_that_is_pooled_by_a_convolution() -> None:
    assert ends(Narrow(), IMAGE) == {"down"}
    found = find_roles(Narrow(), example=(IMAGE,)).tensors
    assert found["shortcut.2.weight"].roles == ("shortcut",)
    assert ends(Searched(), IMAGE) == set()


class Pooled(nn.Module):
    """As MViT: the skip is pooled, but for a token that is taken off and joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.pool = nn.Linear(8, 24), nn.Linear(8, 8), nn.MaxPool1d(2)

    def smaller(self, x: torch.Tensor) -> torch.Tensor:
        rest = self.pool(x[:, 1:].transpose(1, 2)).transpose(1, 2)
        return torch.cat([x[:, :1], rest], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.smaller(x) + self.out(scaled_dot_product_attention(self.smaller(q), k, v))


def test_a_pooled_skip_beside_a_token() -> None:
    assert ends(Pooled(), SEQUENCE) == {"out"}


class Reversible(nn.Module):
    """As Reformer: two streams that begin alike, each added to what the other gives."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"f": nn.Linear(8, 8), "g": nn.Linear(8, 8)}) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = torch.cat([x, x], -1).chunk(2, -1)
        for block in self.blocks:
            one = one + block["f"](other)
            other = other + block["g"](one)
        return torch.cat([one, other], -1)


def test_streams_that_begin_alike() -> None:
    assert ends(Reversible(), SEQUENCE) == {f"blocks.{n}.{name}" for n in (0, 1) for name in "fg"}


class Asking(nn.Module):
    """As EfficientFormerV2: queries are made of what is near, which is added to what is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.q(x + self.near(x.transpose(1, 2)).transpose(1, 2))
        scores = (q @ self.k(x).transpose(1, 2)).softmax(-1)
        return x + self.out(scores @ self.v(x))


def test_an_add_that_only_asks() -> None:
    assert ends(Asking(), SEQUENCE) == {"out"}


class Placed(nn.Module):
    """As EfficientViM: few states are computed, and spread by numbers that were computed before them."""

    def __init__(self) -> None:
        super().__init__()
        self.where, self.out = nn.Linear(8, 4), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = self.where(x)
        states = self.out(places.softmax(1).transpose(1, 2) @ x)
        return x + places @ states


def test_what_says_only_where() -> None:
    assert ends(Placed(), SEQUENCE) == {"out"}


class Queries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.up(x).relu())


class Asked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kv, self.out = nn.Linear(8, 16), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return x + self.out(scaled_dot_product_attention(query, *self.kv(x).chunk(2, -1)))


class Global(nn.Module):
    """As GCViT: a part of its own makes the queries of all blocks, and has branches too."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.block = Queries(), Asked()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x, self.part(x))


def test_a_part_that_makes_queries_for_others() -> None:
    assert ends(Global(), SEQUENCE) == {"part.down", "block.out"}


class Detector(nn.Module):
    """As RetinaNet: two heads on features of two sizes, and boxes that are picked by numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
        self.classes = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
        self.boxes = nn.Conv2d(8, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.body(image)
        features = [first, self.down(first)]
        scores = torch.cat([self.classes(each).flatten(2) for each in features], 2).sigmoid()
        boxes = torch.cat([self.boxes(each).flatten(2) for each in features], 2)
        return boxes[:, :, scores.amax((0, 1)).nonzero()[:, 0]]


def test_the_heads_of_a_detector_that_picks_its_boxes() -> None:
    found = find_roles(Detector(), example=(torch.zeros(2, 3, 8, 8),))
    heads = {name for name, each in found.tensors.items() if "head" in each.roles}
    assert heads == {"classes.2.weight", "boxes.weight"}
    assert any(note.startswith("seen as far as forward came") for note in found.notes)

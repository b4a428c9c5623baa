"""A small language model in the shape of Llama, and what the scripts beside it share.

The model knows nothing of processes, meshes and initcfg. Its constructor initializes it as such models do: by
normal numbers, smaller where a layer adds to the residual stream.
"""

from __future__ import annotations

import hashlib
import logging
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

TOKENS, WIDTH, HEADS, DEPTH, LENGTH = 256, 64, 4, 2, 16


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.size = width // heads
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, width, bias=False)
        self.wv = nn.Linear(width, width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        # With tensor parallelism there are fewer heads here: the last size says how many.
        query, key, value = (
            layer(x).view(batch, length, -1, self.size).transpose(1, 2)
            for layer in (self.wq, self.wk, self.wv)
        )
        query, key = rotated(query, angles), rotated(key, angles)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.wo(mixed.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, 4 * width, bias=False)
        self.w2 = nn.Linear(4 * width, width, bias=False)
        self.w3 = nn.Linear(width, 4 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = Attention(width, heads)
        self.ffn_norm = RMSNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x), angles)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    """From tokens to logits. What is None is skipped, so that a pipeline's stage can leave it out."""

    inv_freq: torch.Tensor

    def __init__(
        self, tokens: int = TOKENS, width: int = WIDTH, heads: int = HEADS, depth: int = DEPTH
    ) -> None:
        super().__init__()
        self.tok_embeddings: nn.Embedding | None = nn.Embedding(tokens, width)
        self.layers = nn.ModuleDict({str(index): Block(width, heads) for index in range(depth)})
        self.norm: RMSNorm | None = RMSNorm(width)
        self.output: nn.Linear | None = nn.Linear(width, tokens, bias=False)
        size = width // heads
        frequencies = 10000.0 ** (-torch.arange(0, size, 2) / size)
        self.register_buffer("inv_freq", frequencies, persistent=False)
        self.init_weights(depth)

    def init_weights(self, depth: int) -> None:
        """Normal numbers; smaller, the deeper the model, where a layer adds to the residual stream."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                small = name.endswith(("wo.weight", "w2.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5 if small else 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.inv_freq
        x = x if self.tok_embeddings is None else self.tok_embeddings(x)
        for layer in self.layers.values():
            x = layer(x, angles)
        x = x if self.norm is None else self.norm(x)
        return x if self.output is None else self.output(x)


def rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Each pair of numbers of a head, turned by the angle of its position."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


# -- what the scripts share ----------------------------------------------------------------------


def start() -> torch.device:
    """Join the other processes of torchrun: over NCCL where there are GPUs, else over Gloo."""
    quiet()
    if torch.cuda.is_available():
        dist.init_process_group("nccl")
        device = torch.device("cuda", dist.get_rank() % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    dist.init_process_group("gloo")
    return torch.device("cpu")


def quiet() -> None:
    """Without what torch says each time of what these scripts do on purpose: gather all, return a view."""
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")


def batch(step: int, device: torch.device, rank: int = 0) -> torch.Tensor:
    """Some tokens; other ones each step, and each rank of the data."""
    generator = torch.Generator().manual_seed(1000 * rank + step)
    return torch.randint(TOKENS, (4, LENGTH + 1), generator=generator).to(device)


def loss_of(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """How badly the next tokens are predicted."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as it is with its shards put together."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, whole; every rank must ask."""
    return {name: whole(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names and bytes: two models with the same digest are the same, bit for bit."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def say(*words: object) -> None:
    """Print on the first rank."""
    if dist.get_rank() == 0:
        print(*words, flush=True)


def finish() -> None:
    """Part from the other processes, once all have come."""
    dist.barrier()
    dist.destroy_process_group()

"""What is kept of a pass: numbers, no tensors but the ones that later checks compare."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch


def memory_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Where a tensor lies, and how many elements it has."""
    return tensor.untyped_storage().data_ptr(), tensor.numel()


@dataclass
class LayerSeen:
    """A call of a layer that has a weight.

    Attributes:
        name: The module; the parameter, where a function multiplies by it.
        kind: Its class, or the function.
        entering: RMS of its input, None where that is tokens.
        input_largest: Largest absolute value of the input.
        rms: Of its output; ``largest`` likewise, not finite if some element is not.
        varies: The share of the output that differs between samples.
        gradient_rms: Of the loss's gradient at the output.
        memory: Where the output lies, and how many elements it has.
    """

    name: str
    kind: str
    entering: float | None
    input_largest: float
    rms: float
    largest: float
    varies: float | None
    gradient_rms: float | None = None
    usual_gradient: float | None = None
    memory: tuple[int, int] = (0, 0)


@dataclass
class BlockSeen:
    """A block of the model, as often as it was called.

    Attributes:
        largest_layer: The layer in it with the largest output.
        ends_in_norm: Whether what it adds to the stream comes from a norm.
    """

    name: str
    rms: float
    largest_layer: str
    gradient_rms: float | None = None
    whole_gradient: float | None = None
    ends_in_norm: bool = False


@dataclass
class UnitsSeen:
    """An activation function: the share of its units that are dead or saturated, and the layer before it."""

    module: str
    kind: Any
    share: float
    layer: str


@dataclass
class HeadsSeen:
    """An attention: entropy of each head, and the layers that ran in its module before."""

    module: str
    entropies: tuple[float, ...]
    layers: tuple[str, ...]


@dataclass
class LossSeen:
    """A loss function of torch's, as the code called it.

    Attributes:
        name: ``"cross_entropy"``.
        value: What it returned.
        log_classes: The loss of a guess.
        logit_std: Standard deviation of the logits of a sample.
        varies: The share of the logits that differs between samples.
        label_entropy: Of the labels; None where there are too few to say.
        size: Number of logits.
        classes: Number of classes.
        frequencies: How often there is each, where there are few.
        layer: The layer that gave the logits, where that can be told.
        floor: Entropy of the labels in the batch: less is a guess that knows them; None where they are
            weighted.
        pull: How much the loss rises with the scale of the logits, to first order.
        samples: Numbers that a mean may have been divided by once more.
        beyond: From where to where targets go that should be 0 to 1.
    """

    name: str
    value: float
    log_classes: float | None
    logit_std: float
    varies: float | None
    label_entropy: float | None
    size: int
    classes: int
    frequencies: tuple[float, ...] = ()
    layer: str | None = None
    floor: float | None = None
    pull: float = 0.0
    samples: tuple[int, ...] = ()
    beyond: tuple[float, float] | None = None


@dataclass
class ZeroRows:
    """A norm that zeros enter: the share of its positions, and the root of its ε."""

    module: str
    share: float
    factor: float


@dataclass
class Seen:
    """All that one pass has shown.

    Attributes:
        broken: Modules whose output is not finite, in the order of execution, with their classes.
        readers: Of the first modules that read the stream, whether each is a norm.
        distances: Of losses that are distances, what they are, and what the mean of the targets has.
        looked_up: Parameters that functions took rows of.
        padding: By embedding: rows of zeros that the batch asked for.
        padding_indices: Of these embeddings, the padding_idx that is among the rows.
        faults: What our own code raised in the midst of the pass.
    """

    loss: float = float("nan")
    layers: list[LayerSeen] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    blocks: list[BlockSeen] = field(default_factory=list)
    entering: float | None = None
    readers: list[bool] = field(default_factory=list)
    heads: list[HeadsSeen] = field(default_factory=list)
    units: list[UnitsSeen] = field(default_factory=list)
    losses: list[LossSeen] = field(default_factory=list)
    zero_rows: list[ZeroRows] = field(default_factory=list)
    padding: dict[str, tuple[int, ...]] = field(default_factory=dict)
    padding_indices: dict[str, int] = field(default_factory=dict)
    distances: list[tuple[float, float]] = field(default_factory=list)
    looked_up: set[str] = field(default_factory=set)
    inputs: list[torch.Tensor] = field(default_factory=list)
    output_varies: float | None = None
    output_std: float | None = None
    stack: list[str] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Within runs our code, in the midst of the user's: what it raises is no failure of the model.

        It is kept for after the pass, since whoever called may catch it, or be told to have failed.
        """
        try:
            with torch.no_grad():
                yield
        except Exception as error:
            self.faults.append(error)

    def raise_fault(self) -> None:
        """Raise the first of what our own code raised."""
        for fault in self.faults:
            raise fault

    def layer_of(self, tensor: torch.Tensor) -> str | None:
        """The layer whose output a tensor is, reshaped perhaps; else the last, if it has as many elements."""
        here = memory_of(tensor)
        same = next((each.name for each in reversed(self.layers) if each.memory == here), None)
        last = self.layers[-1] if self.layers else None
        return last.name if same is None and last is not None and last.memory[1] == here[1] else same

    @property
    def main_loss(self) -> LossSeen | None:
        """The loss function that the loss comes from: the one with that value, else the largest."""
        if not self.losses:
            return None
        same = [each for each in self.losses if abs(each.value - self.loss) <= 1e-3 * abs(self.loss)]
        return max(same or self.losses, key=lambda each: each.size)

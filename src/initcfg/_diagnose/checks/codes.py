"""Every check: its level, its threshold, the range over healthy models, and what the fault leads to.

The thresholds were set on small default models of torchvision, timm and transformers, and the ranges are of
47 of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from initcfg._diagnose.facts import Level

_Range = tuple[float, float] | None


@dataclass(frozen=True)
class Check:
    """What there is to know of a check before any model.

    Attributes:
        level: Of its findings, unless the check itself knows better.
        measures: What the number is.
        threshold: What it is compared with; None where any is too many.
        healthy: Its range over healthy models.
        why: What the fault leads to.
        fix: The usual remedy.
        of_lr: Whether it depends on the learning rate: without one it is information.
    """

    level: Level
    measures: str
    threshold: float | None
    healthy: _Range
    why: str
    fix: str
    of_lr: bool = False


CHECKS: dict[str, Check] = {
    # -- numbers that are none ------------------------------------------------------------------------
    "nonfinite-weight": Check(
        "error",
        "tensors that hold NaN or infinity",
        0,
        (0, 0),
        "The loss is NaN at step 1.",
        "Initialize this tensor again; if a checkpoint gave it, check that file.",
    ),
    "nonfinite-input": Check(
        "error",
        "numbers of the batch that are NaN or infinite",
        0,
        (0, 0),
        "The loss is NaN, whatever the weights are.",
        "Look at the batch: what reads, divides or takes logarithms of the data before the model does.",
    ),
    "nonfinite-activation": Check(
        "error",
        "modules whose output is not finite",
        0,
        (0, 0),
        "The loss is NaN or infinite at step 1.",
        "Make the weights before this place smaller.",
    ),
    "nonfinite-loss": Check(
        "error",
        "the loss",
        None,
        None,
        "There is nothing to learn from.",
        "Check the loss and its targets: every module's output is finite.",
    ),
    "nonfinite-gradient": Check(
        "error",
        "norm of the gradient",
        None,
        None,
        "The weights are NaN after the first step, though the loss looks right.",
        "See zero-into-norm if it was found; else look for a root or a logarithm of 0.",
    ),
    "fp16-overflow": Check(
        "warning",
        "largest input or output of a layer",
        8192,
        (0, 500),
        "float16 ends at 65504: the first larger batch is infinite.",
        "Compute in bfloat16, or make the weights before this place smaller.",
    ),
    "fp16-underflow": Check(
        "info",
        "share of gradients that float16 rounds to 0",
        0.3,
        (0, 0.3),
        "Without loss scaling, these weights do not move.",
        "Use torch.amp.GradScaler, or bfloat16.",
    ),
    "bf16-no-update": Check(
        "warning",
        "share of tensors whose first step is less than 2⁻⁹ of the weights",
        0.5,
        (0, 0.5),
        "Weights stored in bfloat16 round such a step away, and do not move.",
        "Keep the weights in float32 and compute under torch.autocast, or raise the learning rate.",
        of_lr=True,
    ),
    # -- the input, the loss, and the output ----------------------------------------------------------
    "input-scale": Check(
        "warning",
        "standard deviation of the input",
        10,
        (0.02, 10),
        "The first layer sees little but the mean, or needs weights of another size.",
        "Normalize the input to mean 0 and standard deviation 1.",
    ),
    "initial-loss": Check(
        "warning",
        "loss above that of a guess",
        1,
        (-0.1, 0.98),
        "The first hundred steps only shrink the output; the loss spikes, and the learning rate must be low.",
        "Give the output layer a smaller std.",
    ),
    "loss-too-low": Check(
        "warning",
        "loss below the entropy of the labels",
        0.5,
        (-7, 0.1),
        "Weights that were just drawn cannot know the labels: the targets leak into the input, or the loss "
        "is divided once too often.",
        "Look at what the model is given, and at the loss: labels that are not shifted, a target among the "
        "inputs, a mean that is divided again.",
    ),
    "target-range": Check(
        "error",
        "targets of a binary cross entropy that are not between 0 and 1",
        1,
        (0, 1),
        "The loss has no lower end: it falls without limit, and the outputs grow with it.",
        "Divide masks of 0 and 255 by 255, or take cross_entropy for numbers of classes.",
    ),
    "class-prior": Check(
        "info",
        "loss above the entropy of the labels",
        0.2,
        (0, 0.2),
        "The first steps learn how frequent each class is, which could be said.",
        "Give the bias of the output layer the logarithms of the classes' frequencies: HeadBias.",
    ),
    "input-lost": Check(
        "warning",
        "share of the output that differs between samples",
        1e-3,
        (0.07, 1.5),
        "The output does not see the input, and nothing can be learned from it.",
        "Give this layer weights that keep the size of the signal: Kaiming or Xavier.",
    ),
    # -- the signal, forward and back -----------------------------------------------------------------
    "activation-explodes": Check(
        "warning",
        "RMS of a layer's output",
        1e3,
        (2.4e-5, 5.4),
        "Numbers overflow in half precision, and a step changes the output by far too much.",
        "Give the layers weights that keep the size of the signal: Kaiming or Xavier.",
    ),
    "activation-vanishes": Check(
        "warning",
        "RMS of a layer's output",
        1e-6,
        (2.4e-5, 5.4),
        "No signal reaches the output.",
        "Give the layers weights that keep the size of the signal: Kaiming or Xavier.",
    ),
    "stream-grows": Check(
        "warning",
        "RMS of the residual stream over what enters the first block",
        30,
        (0.5, 30),
        "Late blocks and the head see little but the last branches.",
        "Scale the last layer of each branch by 1/√(number of branches), or start it at zero.",
    ),
    "gradient-vanishes": Check(
        "warning",
        "gradient in the first fifth of the depth over that in the last",
        1e-4,
        (1.3e-3, 13),
        "Early layers stand still.",
        "Give the layers weights that keep the size of the signal, or add norms or skips.",
    ),
    "gradient-explodes": Check(
        "warning",
        "gradient in the first fifth of the depth over that in the last",
        1e2,
        (1.3e-3, 13),
        "Early layers drown the rest: clipping then shrinks every other layer's step.",
        "Give the layers smaller weights.",
    ),
    "zero-into-norm": Check(
        "warning",
        "share of positions that enter a norm as exact zeros",
        0,
        (0, 0),
        "A norm multiplies the gradient of zeros by 1/√ε each time: the loss is fine, the gradient is not.",
        "Give the rows numbers, or mask those positions.",
    ),
    "gradient-norm": Check(
        "warning",
        "norm of the gradient of all parameters",
        1e3,
        (0, 430),
        "Clipping, where there is some, rules every step.",
        "Make the weights smaller where the gradient is largest.",
    ),
    # -- units and heads ------------------------------------------------------------------------------
    "dead-relu": Check(
        "warning",
        "share of units that are 0 on the whole batch",
        0.5,
        (0, 0.33),
        "These units have no gradient, and never train.",
        "Start the biases at 0, and the weights with mean 0.",
    ),
    "saturated": Check(
        "warning",
        "share of saturated activations",
        0.5,
        (0, 0.3),
        "Their gradient is nearly 0.",
        "Give the layer before it smaller weights: Xavier.",
    ),
    "attention-collapsed": Check(
        "warning",
        "entropy of the sharpest head over the logarithm of its keys",
        0.2,
        (0.82, 1),
        "Each position looks at one other; queries and keys have no gradient.",
        "Give queries and keys smaller weights.",
    ),
    "symmetric-units": Check(
        "warning",
        "share of rows that are equal, and not zero",
        0.5,
        (0, 0),
        "Units that start alike stay alike: the layer is as wide as its different rows.",
        "Draw the weights: Kaiming, Xavier or Normal.",
    ),
    # -- whether anything learns ----------------------------------------------------------------------
    "dead-parameter": Check(
        "warning",
        "tensors whose gradient is exactly 0, also after 4 steps",
        0,
        (0, 0),
        "They never train.",
        "Start one of two factors that are multiplied away from zero.",
    ),
    "not-loaded": Check(
        "warning",
        "share of the checkpoint's tensors that strict=False let in",
        0.5,
        (0.5, 1),
        "Training starts from other weights than the checkpoint's, and nothing fails.",
        "Give its names the model's prefix, or load it by the rule Pretrained, which says what fits.",
    ),
    "starts-later": Check(
        "info",
        "tensors whose gradient is exactly 0 at the first step alone",
        None,
        None,
        "By design, of a branch or a head that starts at zero: what is behind it begins a step later.",
        "",
    ),
    "unused-parameter": Check(
        "warning",
        "trained tensors that are not part of the loss",
        0,
        (0, 0),
        "They never train; DistributedDataParallel raises an error.",
        "Use them, freeze them (requires_grad=False), or take them out.",
    ),
    "update-too-large": Check(
        "warning",
        "size of the first step over that of the weights",
        0.3,
        (0, 0.18),
        "The first step erases the initialization.",
        "Lower the learning rate, warm it up, or start these weights larger.",
        of_lr=True,
    ),
    "update-too-small": Check(
        "warning",
        "median size of the first step over that of the weights",
        1e-6,
        (0.0036, 0.18),
        "Training stands still.",
        "Raise the learning rate.",
        of_lr=True,
    ),
    "probe-diverges": Check(
        "warning",
        "loss after the steps over the loss before",
        1.05,
        (0, 1),
        "At this learning rate, the loss grows on the very batch that is trained on.",
        "Lower the learning rate, or mend what else is found.",
        of_lr=True,
    ),
    "probe-stalls": Check(
        "warning",
        "fall of the loss over the steps",
        0.02,
        (0.05, 10),
        "Nothing is learned on the very batch that is trained on.",
        "Raise the learning rate, or mend what else is found.",
        of_lr=True,
    ),
}

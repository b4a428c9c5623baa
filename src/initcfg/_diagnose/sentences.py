"""What findings say, in English and in Chinese: every sentence with its slots, and what fills them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from initcfg._plan import record_to_json
from initcfg.errors import Sentences

SENTENCES: dict[str, tuple[str, str]] = {
    # -- what is not finite -----------------------------------------------------------------------------
    "weight holds": ("{tensor} holds NaN or infinity.", "{tensor} 中含有 NaN 或无穷大。"),
    "in the inputs": (
        "{n} of the {all} numbers of the inputs is NaN or infinite."
        "|{n} of the {all} numbers of the inputs are NaN or infinite.",
        "输入的 {all} 个数中有 {n} 个是 NaN 或无穷大。",
    ),
    "in the targets": (
        "{n} of the {all} numbers of the targets is NaN or infinite."
        "|{n} of the {all} numbers of the targets are NaN or infinite.",
        "目标的 {all} 个数中有 {n} 个是 NaN 或无穷大。",
    ),
    "first output": (
        "The first output that is not finite is that of {module} ({kind}).",
        "最先出现非有限值的是 {module}（{kind}）的输出。",
    ),
    "output of the model": (
        "The first output that is not finite is that of the model ({kind}).",
        "最先出现非有限值的是模型（{kind}）自身的输出。",
    ),
    "loss is": ("The loss is {loss}.", "损失为 {loss}。"),
    "norm is": (
        "The loss is {loss}, and the norm of the gradient {norm}.",
        "损失为 {loss}，梯度的范数却是 {norm}。",
    ),
    "enters broken": (
        "What enters {function} is not finite already.",
        "进入 {function} 的数值就已经不是有限值。",
    ),
    "enters broken at": (
        "What enters {function} at {place} is not finite already.",
        "在 {place}，进入 {function} 的数值就已经不是有限值。",
    ),
    "comes from": ("It comes from {function}.", "它由 {function} 产生。"),
    "comes from at": ("It comes from {function} at {place}.", "它由 {place} 处的 {function} 产生。"),
    "comes from with": (
        "It comes from {function}, which {tensor} enters.",
        "它由 {function} 产生，{tensor} 是其输入之一。",
    ),
    "comes from at with": (
        "It comes from {function} at {place}, which {tensor} enters.",
        "它由 {place} 处的 {function} 产生，{tensor} 是其输入之一。",
    ),
    "mend the batch": (
        "Look at the batch: it holds NaN or infinity.",
        "检查数据批：其中含有 NaN 或无穷大。",
    ),
    "away from zero": ("Start it away from zero.", "不要从零开始初始化它。"),
    "within its domain": (
        "Keep what enters that function within what it is defined for.",
        "让该函数的输入保持在其定义域之内。",
    ),
    # -- half precision ---------------------------------------------------------------------------------
    "rounds away": (
        "The first step of {n} of {all} tensors is less than 2⁻⁹ of their weights.",
        "{all} 个张量中有 {n} 个，第一步更新不到其权重的 2⁻⁹。",
    ),
    "near the end": (
        "The largest number there is {largest}; float16 ends at {end}.",
        "该处最大的数为 {largest}，而 float16 的上限是 {end}。",
    ),
    "beyond the end": (
        "The largest number there is {largest}; float16 ends at {end}: there it is infinite on this very "
        "batch.",
        "该处最大的数为 {largest}，而 float16 的上限是 {end}：在这批数据上就已经溢出为无穷大。",
    ),
    "below the least": (
        "{share} of the gradients are below 6e-8, which float16 rounds to 0.",
        "{share} 的梯度小于 6e-8，会被 float16 舍入为 0。",
    ),
    # -- what is loaded, the input, and the loss --------------------------------------------------------
    "loads few": (
        "{code} loads {loaded} of {given} tensors by load_state_dict(strict=False): {kind} has no "
        "{stranger} ({place}).",
        "{code} 用 load_state_dict(strict=False) 只加载了 {given} 个张量中的 {loaded} 个："
        "{kind} 中没有 {stranger}（{place}）。",
    ),
    "loads few of other names": (
        "{code} loads {loaded} of {given} tensors by load_state_dict(strict=False): {kind} has no "
        "{stranger}, and the checkpoint no {lacking} ({place}).",
        "{code} 用 load_state_dict(strict=False) 只加载了 {given} 个张量中的 {loaded} 个："
        "{kind} 中没有 {stranger}，检查点中没有 {lacking}（{place}）。",
    ),
    "input has": (
        "The input has mean {mean} and standard deviation {std}; about 0 and 1 are expected.",
        "输入的均值为 {mean}，标准差为 {std}；通常应约为 0 和 1。",
    ),
    "targets go": (
        "The targets of {loss} go from {low} to {high}.",
        "{loss} 的目标取值范围为 {low} 至 {high}。",
    ),
    "divided again": (
        "The loss is {loss}, 1/{count} of the mean {name}, {mean}: a mean that is divided by {count} again.",
        "损失为 {loss}，是 {name} 均值 {mean} 的 1/{count}：均值又被除了一次 {count}。",
    ),
    "too low": (
        "The loss starts at {loss}, and who knows only how frequent each class is has {floor}.",
        "初始损失为 {loss}，而只知道各类别频率时应为 {floor}。",
    ),
    "too low unless trained": (
        "The loss starts at {loss}, and who knows only how frequent each class is has {floor}; if the "
        "weights were trained before, that is why.",
        "初始损失为 {loss}，而只知道各类别频率时应为 {floor}；若权重已经训练过，这便是原因。",
    ),
    "already the target": (
        "The output is the target already: the loss is {loss}, and their mean has {spread}.",
        "输出已经等于目标：损失为 {loss}，而只输出目标的均值时为 {spread}。",
    ),
    "starts high": (
        "The loss starts at {loss}, and a guess has {guess}: the logits have the standard deviation {std}.",
        "初始损失为 {loss}，而均匀猜测为 {guess}：logits 的标准差为 {std}。",
    ),
    "quiet what enters": (
        "What enters the output layer is large already: let the layers before it keep the size.",
        "进入输出层的信号本身就已过大：让它之前的各层保持信号的大小。",
    ),
    "start it smaller": (
        "{tensor} sets the size of the logits: start it smaller.",
        "{tensor} 决定了 logits 的大小：请把它的初始值设小一些。",
    ),
    "start it larger": (
        "{tensor} sets the size of the logits: start it larger.",
        "{tensor} 决定了 logits 的大小：请把它的初始值设大一些。",
    ),
    "embedding is the head": (
        "The embedding is the output layer, too: give it a smaller std, or scale the logits.",
        "词嵌入同时也是输出层：减小它的标准差，或缩放 logits。",
    ),
    "labels have": (
        "The labels have the entropy {entropy}, and a guess {guess}: a bias of log frequencies starts "
        "{lower} lower.",
        "标签的熵为 {entropy}，均匀猜测的损失为 {guess}：把偏置设为对数频率，初始损失可降低 {lower}。",
    ),
    "output differs": (
        "Between samples, the output differs by {share} of its size.",
        "不同样本的输出之间只相差其大小的 {share}。",
    ),
    # -- the signal, forward and back -------------------------------------------------------------------
    "grows there": (
        "The output there has the RMS {rms}; the largest is {largest}, of {module}.",
        "该处输出的均方根为 {rms}；最大的是 {module}，达到 {largest}。",
    ),
    "vanishes there": ("The output there has the RMS {rms}.", "该处输出的均方根为 {rms}。"),
    "stream grows": (
        "Over {count} blocks the stream grows {growth}-fold, most of it in {module}.",
        "经过 {count} 个模块，残差流增大到 {growth} 倍，主要来自 {module}。",
    ),
    "norms read": (
        "What reads it is a norm each time, so its size itself does no harm.",
        "读取残差流的都是归一化层，因此其大小本身并无害处。",
    ),
    "norms add": (
        "What each block adds comes from a norm, so it is large beside a small start only.",
        "每个模块加入的量都出自归一化层，因此只是相对于很小的起点才显得大。",
    ),
    "gradient beside": (
        "Its gradient is {ratio} times that near the loss.",
        "该处的梯度是损失附近梯度的 {ratio} 倍。",
    ),
    "gradient norm is": (
        "It is {norm}, most of it in {tensor}.",
        "梯度的范数为 {norm}，主要来自 {tensor}。",
    ),
    "zeros enter": (
        "{share} of its positions are zeros; {norms} norms in all have such, and 1/√ε each time makes the "
        "gradient up to {factor} times as large.",
        "该处有 {share} 的位置是零向量；共有 {norms} 个归一化层如此，"
        "每经过一个梯度放大 1/√ε 倍，合计可达 {factor} 倍。",
    ),
    "zeros of rows": (
        "They are row {rows} of {tensor}: the batch holds that token.",
        "它们来自 {tensor} 的第 {rows} 行：数据批中含有这个词元。",
    ),
    "zeros of padding": (
        "They are row {row} of {tensor}, its padding_idx: rules leave that row at zero, no gradient reaches "
        "it, and the batch holds that token.",
        "它们来自 {tensor} 的第 {row} 行，即 padding_idx："
        "规则让这一行保持为零，梯度不会到达它，而数据批中含有这个词元。",
    ),
    "zeros first": (
        "Mend zero-into-norm first: norms enlarge the gradient where zeros enter them.",
        "请先修正 zero-into-norm：零向量进入归一化层时，梯度会被放大。",
    ),
    "no padding": (
        "Make the model with padding_idx=None (pad_token_id=None in transformers) if that token is like any "
        "other; else mask its positions. No rule fills the row.",
        "如果这个词元与其他词元无异，请以 padding_idx=None 构建模型（transformers 中为 pad_token_id=None）；"
        "否则请屏蔽这些位置。没有规则会填充这一行。",
    ),
    # -- units and heads --------------------------------------------------------------------------------
    "units are dead": (
        "{share} of its units are 0 on the whole batch.",
        "在整批数据上，{share} 的神经元始终为 0。",
    ),
    "units are saturated": ("{share} of its {kind}s are saturated.", "{share} 的 {kind} 激活值处于饱和区。"),
    "head looks": (
        "The entropy of its sharpest head is {share} of what equal weights have.",
        "最尖锐的注意力头，其熵仅为均匀注意力的 {share} 倍。",
    ),
    "rows are equal": (
        "{share} of its rows are equal, and not zero.",
        "它有 {share} 的行彼此相等，且不为零。",
    ),
    # -- whether anything learns ------------------------------------------------------------------------
    "not in the loss": (
        "{n} trained tensor is not part of the loss.|{n} trained tensors are not part of the loss.",
        "有 {n} 个待训练的张量没有参与损失的计算。",
    ),
    "gradient is zero": (
        "The gradient of {n} tensor is exactly 0, also after 4 steps."
        "|The gradient of {n} tensors is exactly 0, also after 4 steps.",
        "有 {n} 个张量的梯度恰为 0，训练 4 步之后依然如此。",
    ),
    "gradient comes later": (
        "{n} tensor has a gradient from a later step on only."
        "|{n} tensors have a gradient from a later step on only.",
        "有 {n} 个张量第一步没有梯度，后来才有。",
    ),
    "step beside the weights": (
        "At lr {lr}, the first step is {ratio} of the weights there.",
        "学习率为 {lr} 时，第一步更新是该处权重大小的 {ratio} 倍。",
    ),
    "median step": (
        "At lr {lr}, the median first step is {ratio} of the weights.",
        "学习率为 {lr} 时，第一步更新与权重大小之比的中位数为 {ratio}。",
    ),
    "loss went": (
        "On one batch, at lr {lr}, the loss went from {first} to {last} in {n} step."
        "|On one batch, at lr {lr}, the loss went from {first} to {last} in {n} steps.",
        "在同一批数据上以学习率 {lr} 训练 {n} 步，损失由 {first} 变为 {last}。",
    ),
    "falls slowly": ("It falls each time, slowly.", "损失每一步都在下降，只是很慢。"),
}
"""Every sentence of every check."""

PHRASES = Sentences(
    {
        "synthetic": ("a synthetic batch ({of}), not your data", "合成数据（{of}），不是你的数据"),
        "nothing given": ("the batch given (no tensor)", "给定的数据批（其中没有张量）"),
        "nothing but targets": (
            "the batch given (no tensor, with targets)",
            "给定的数据批（除目标外没有张量）",
        ),
        "given with targets": ("the batch given ({of}, with targets)", "给定的数据批（{of}，含目标）"),
        "given": ("the batch given ({of})", "给定的数据批（{of}）"),
        "changed since": (
            "{value}, and something has changed it since (RMS {rms})",
            "{value}，之后又被改动（均方根 {rms}）",
        ),
        "as built": ("what it was built with (RMS {rms})", "构建时的值（均方根 {rms}）"),
        "either": ("{first} or {second}", "{first} 或 {second}"),
        "then": ("{first}, then {second}", "{first}，随后 {second}"),
    }
)
"""What is told of batches, values and rules, as a diagnosis holds it: in English."""

_ALL = Sentences(SENTENCES)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a finding: which one it is, and what fills its slots, as it is shown."""

    key: str
    given: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """As JSON data."""
        return record_to_json(self)


def say(key: str, **given: object) -> Sentence:
    """A sentence with all that it tells of.

    Raises:
        KeyError: There is no such sentence, or it tells of something else.
    """
    if given.keys() != _ALL.slots(key):
        raise KeyError(key, *sorted(given.keys() ^ _ALL.slots(key)))
    return Sentence(key, {name: str(item) for name, item in given.items()})


def told(said: Iterable[Sentence], lang: str = "en") -> str | None:
    """The sentences one after the other; None if one is of a version that knows more of them."""
    said = tuple(said)
    if not all(each.key in _ALL and each.given.keys() >= _ALL.slots(each.key) for each in said):
        return None
    return ("" if lang == "zh" else " ").join(_ALL.written(each.key, each.given, lang) for each in said)

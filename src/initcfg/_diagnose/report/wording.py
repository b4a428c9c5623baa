"""The words of a diagnosis's page, in English and in Chinese, and what each code says."""

from __future__ import annotations

from dataclasses import dataclass

WORDS: dict[str, tuple[str, str]] = {
    "diagnosis": ("Diagnosis of an initialization", "初始化诊断"),
    "{n} errors": ("{n} error|{n} errors", "{n} 个错误"),
    "{n} warnings": ("{n} warning|{n} warnings", "{n} 个警告"),
    "nothing wrong": ("Nothing wrong was found", "未发现问题"),
    "error": ("Error", "错误"),
    "warning": ("Warning", "警告"),
    "info": ("Information", "信息"),
    "cause": ("cause: {value} by {rule}", "原因：{rule} 给出的 {value}"),
    "cause value": ("cause: {value}", "原因：{value}"),
    "verdict": ("{counts}: {first}", "{counts}：{first}"),
    "with numbers": ("{title} ({measured}; limit {limit})", "{title}（{measured}，阈值 {limit}）"),
    "then": ("{first}; {second}", "{first}；{second}"),
    "and": (", ", "，"),
    "findings": ("Findings", "发现的问题"),
    "no findings": ("No check found anything.", "所有检查均未发现问题。"),
    "place": ("place", "位置"),
    "and {n} further places": ("and {n} further place|and {n} further places", "另有 {n} 处"),
    "measured": ("measured", "实测"),
    "limit": ("limit", "阈值"),
    "healthy models": ("healthy models", "正常模型"),
    "healthy range": ("healthy models: {a} to {b}", "正常模型：{a} 至 {b}"),
    "ruler": ("{what}: measured {measured}, limit {limit}", "{what}：实测 {measured}，阈值 {limit}"),
    "why it matters": ("Why it matters", "影响"),
    "given by": ("Given by", "来源"),
    "gives {tensor} {value}": ("gives {tensor} {value}", "将 {tensor} 设为 {value}"),
    "what mends it": ("What mends it", "如何修正"),
    "at this rate": ("At this learning rate it is gone:", "使用这个学习率则不再出现："),
    "append": ("As the last entry of the init_cfg:", "追加到 init_cfg 末尾："),
    "pictures": ("Pictures", "图示"),
    "batch": ("batch", "数据批"),
    "optimizer": ("optimizer", "优化器"),
    "lr": ("learning rate", "学习率"),
    "lr assumed": ("{lr} (assumed)", "{lr}（默认值）"),
    "steps": ("steps of the probe", "试训步数"),
    "dtype": ("computed in", "计算精度"),
    "seconds": ("took", "耗时"),
    "{n} s": ("{n} s", "{n} 秒"),
    "{n} min": ("{n} min", "{n} 分钟"),
    "loss": ("initial loss", "初始损失"),
    "the loss": ("loss", "损失"),
    "log classes": ("ln C (a uniform guess)", "ln C（均匀猜测）"),
    "all numbers": ("All numbers", "全部数值"),
    "number": ("number", "数值"),
    # The five pictures.
    "depth": ("Scale by depth", "各深度的信号尺度"),
    "depth said": (
        "Size (rms) of the signal behind each block and of the loss's gradient there, logarithmic. Healthy "
        "models' layers lie in the band.",
        "每个模块之后信号的均方根及其梯度的均方根（对数坐标）。阴影带为正常模型的范围。",
    ),
    "block": ("block", "模块"),
    "entering": ("entering the first block", "进入第一个模块之前"),
    "signal": ("signal", "信号"),
    "gradient": ("gradient", "梯度"),
    "healthy band": ("signal of healthy models", "正常模型的信号范围"),
    "rms": ("rms", "均方根"),
    "strip": ("Every tensor at a glance", "全部张量一览"),
    "strip said": (
        "One column for each tensor in the order of execution; the color is the logarithm of the rms. Red: "
        "not finite. Gray: exactly zero. Empty: there is none.",
        "每列一个张量，按执行顺序排列；颜色表示均方根的对数。红色：非有限值；灰色：恰为零；空白：没有数据。",
    ),
    "activation": ("activation", "激活"),
    "weight": ("weight", "权重"),
    "update ratio": ("update : weight", "更新 : 权重"),
    "updates": ("Update : weight", "更新量与权重之比"),
    "updates said": (
        "Size of the first step of {optimizer} at {lr}, relative to each tensor. Above 0.3 a step erases the "
        "initialization; below 1e-6 nothing moves; about 1e-3 is usual.",
        "{optimizer} 在学习率 {lr} 下第一步更新相对于各张量的大小。"
        "高于 0.3 会抹去初始化，低于 1e-6 几乎不动，通常约为 1e-3。",
    ),
    "attention and units": ("Attention and units", "注意力与神经元"),
    "attention said": (
        "Entropy of each head's attention over the logarithm of the keys it sees: 1 looks everywhere, below "
        "0.2 at one key only.",
        "每个注意力头的熵除以可见键数的对数：1 表示均匀关注，低于 0.2 表示只看一个键。",
    ),
    "units said": (
        "Share of units that are dead or saturated; above 0.5 it is a warning.",
        "失活或饱和的神经元所占比例；超过 0.5 会给出警告。",
    ),
    "layer": ("layer", "层"),
    "head": ("head", "头"),
    "heads": ("heads", "注意力头"),
    "entropy": ("entropy", "熵"),
    "share": ("share", "比例"),
    "kind": ("kind", "类型"),
    "relu": ("dead", "失活"),
    "tanh": ("saturated (tanh)", "饱和（tanh）"),
    "sigmoid": ("saturated (sigmoid)", "饱和（sigmoid）"),
    "probe": ("The probe: a few steps on one batch", "试训：在同一批数据上训练几步"),
    "probe said": (
        "Loss of {optimizer} on the batch, at a third of the learning rate, at it, and at three times it.",
        "用 {optimizer} 在该批数据上训练时的损失：学习率分别取三分之一、原值和三倍。",
    ),
    "step": ("step", "步"),
    "uniform guess": ("ln C", "ln C"),
    "label entropy": ("entropy of the labels", "标签的熵"),
    "not finite": ("not finite", "非有限值"),
    # Two side by side.
    "side by side": ("Two initializations side by side", "两种初始化对比"),
    "better": (
        "{better} is ahead: after the steps, {a} has the loss {x} and {b} {y}",
        "{better} 领先：试训之后 {a} 的损失为 {x}，{b} 为 {y}",
    ),
    "noise": (
        "No difference that is more than chance: after the steps, {a} has the loss {x} and {b} {y}",
        "差异不超出偶然：试训之后 {a} 的损失为 {x}，{b} 为 {y}",
    ),
    "by ranks": (
        "Losses are medians over {n} draw of each; by their ranks, two sets of draws of one initialization "
        "differ as much in {chance} of cases.|Losses are medians over {n} draws of each; by their ranks, two "
        "sets of draws of one initialization differ as much in {chance} of cases.",
        "损失取各 {n} 次抽样的中位数；按秩检验，同一种初始化的两组抽样有 {chance} 的概率出现同样大的差异。",
    ),
    "gap": (" ", ""),
    "too few draws": (
        "So few draws cannot tell any two apart: take five.",
        "抽样太少，无法区分任何两种初始化：请取五次。",
    ),
    "losses": ("Losses of every draw", "每次抽样的损失"),
    "losses said": (
        "Loss of {optimizer} at lr {lr} on the batch, of each draw of the weights (thin) and their median "
        "(thick).",
        "用 {optimizer} 以学习率 {lr} 在该批数据上训练时的损失：细线为每次权重抽样，粗线为中位数。",
    ),
    "draw": ("draw", "抽样"),
    "draws": ("draws of each", "各抽样次数"),
    "median": ("median", "中位数"),
    "at the start": ("at the start", "开始时"),
    "after steps": ("after the steps", "试训之后"),
    "finding": ("finding", "发现"),
    "depths said": (
        "Size (rms) of the signal behind each block in both, logarithmic.",
        "两者各模块之后信号的均方根（对数坐标）。",
    ),
    "trained": (
        "A look at the initialization ranks two of them worse than eight steps of training do: compare by "
        "the probe.",
        "仅凭初始状态给两种初始化排序，不如训练八步可靠：请用试训结果比较。",
    ),
}


LOSSES = {
    "the one given": "给定的损失",
    "the model's own": "模型自己的损失",
    "cross entropy, since none was given": "交叉熵（未给定损失）",
    "binary cross entropy of logits, since none was given": "logits 的二元交叉熵（未给定损失）",
    "mean squares, since none was given": "均方误差（未给定损失）",
}
"""Which loss it was, in Chinese."""

SIDES = {"here": "当前方案", "there": "对照方案"}
"""What two sides are called that nobody has named, in Chinese."""

PLACES = {
    "the batch": "数据批",
    "the checkpoint": "检查点",
    "the gradient": "梯度",
    "the labels": "标签",
    "the learning rate": "学习率",
    "the loss": "损失",
    "the model": "模型",
    "the output": "输出",
}
"""Where a finding is that is in no module, in Chinese."""


@dataclass(frozen=True)
class Said:
    """What a code says: a title, what the number is; in Chinese also why it matters and what mends it."""

    title: tuple[str, str]
    number: tuple[str, str]
    why: str
    fix: str


CODES: dict[str, Said] = {
    "nonfinite-weight": Said(
        ("A weight is not finite", "权重不是有限值"),
        ("tensors that are not finite", "含非有限值的张量个数"),
        "第一次前向计算就会得到 NaN。",
        "修正写入该张量的规则或检查点。",
    ),
    "nonfinite-input": Said(
        ("The batch is not finite", "数据批中有非有限值"),
        ("numbers of the batch that are not finite", "数据批中非有限值的个数"),
        "无论权重如何，损失都会是 NaN。",
        "检查数据：模型之前读取、除法或取对数的地方。",
    ),
    "loss-too-low": Said(
        ("The loss starts too low", "初始损失过低"),
        ("loss below the entropy of the labels", "损失低于标签熵的量"),
        "刚抽样的权重不可能知道标签：目标泄漏到了输入中，或者损失多除了一次。",
        "检查模型的输入与损失：标签没有错位、目标混入输入、平均值又被除了一次。",
    ),
    "target-range": Said(
        ("Targets are out of range", "目标超出范围"),
        ("targets that are not between 0 and 1", "不在 0 与 1 之间的目标"),
        "损失没有下界：它会无限下降，输出随之增大。",
        "把 0/255 的掩码除以 255；若目标是类别编号，请用 cross_entropy。",
    ),
    "nonfinite-activation": Said(
        ("An activation is not finite", "激活值不是有限值"),
        ("modules whose output is not finite", "输出含非有限值的模块个数"),
        "损失会变成 NaN，任何参数都无法训练。",
        "减小该处之前权重的尺度，或检查输入。",
    ),
    "nonfinite-loss": Said(
        ("The loss is not finite", "损失不是有限值"),
        ("the loss", "损失"),
        "没有可供学习的信号。",
        "检查损失函数及其目标：所有模块的输出都是有限值。",
    ),
    "nonfinite-gradient": Said(
        ("The gradient is not finite", "梯度不是有限值"),
        ("norm of the gradient", "梯度范数"),
        "第一步更新之后所有权重都会变成 NaN，即使初始损失看起来正常。",
        "减小该处权重的尺度；若零向量进入归一化层，先处理它（例如填充行）。",
    ),
    "initial-loss": Said(
        ("The loss starts too high", "初始损失过高"),
        ("loss above ln C", "损失超出 ln C 的量"),
        "最初几百步都用来缩小输出层，并可能出现损失尖峰。",
        "减小输出层（或与之共享的词嵌入）的标准差。",
    ),
    "activation-explodes": Said(
        ("Activations explode", "激活值爆炸"),
        ("rms of the output", "输出的均方根"),
        "数值可能溢出，后面的层只看到一个方向。",
        "让各层权重保持信号的大小：Kaiming 或 Xavier。",
    ),
    "activation-vanishes": Said(
        ("Activations vanish", "激活值消失"),
        ("rms of the output", "输出的均方根"),
        "信号传不到后面的层，模型几乎不动。",
        "让各层权重保持信号的大小：Kaiming 或 Xavier。",
    ),
    "stream-grows": Said(
        ("The residual stream grows", "残差流逐层增大"),
        ("largest size of the stream over that entering it", "残差流最大值与入口处之比"),
        "靠后的模块和输出层几乎只看得到最后几个分支。",
        "把每个残差分支最后的权重乘以 1/√(2L)，或置零。",
    ),
    "gradient-vanishes": Said(
        ("The gradient vanishes toward the input", "梯度向输入方向消失"),
        ("gradient in the first blocks over that in the last", "前部模块与后部模块的梯度之比"),
        "靠前的层几乎学不动。",
        "让各层权重保持信号的大小，或加入归一化或残差连接。",
    ),
    "gradient-explodes": Said(
        ("The gradient explodes toward the input", "梯度向输入方向爆炸"),
        ("gradient in the first blocks over that in the last", "前部模块与后部模块的梯度之比"),
        "靠前的层淹没其余各层，更新只由它们决定。",
        "减小各层的尺度，使梯度在深度方向保持大小。",
    ),
    "dead-relu": Said(
        ("Units are dead", "ReLU 神经元失活"),
        ("share of units that are always zero", "始终为零的神经元比例"),
        "这些神经元没有梯度，永远不会训练。",
        "把偏置设为 0，并用 Kaiming 初始化权重。",
    ),
    "saturated": Said(
        ("Units are saturated", "神经元饱和"),
        ("share of saturated units", "饱和神经元比例"),
        "这些神经元的梯度几乎为零。",
        "减小权重的标准差，例如用 Xavier。",
    ),
    "attention-collapsed": Said(
        ("Attention looks at one key", "注意力坍缩到单个键"),
        ("entropy of the sharpest head", "最尖锐注意力头的相对熵"),
        "注意力近似 one-hot，查询与键得不到梯度。",
        "减小查询与键投影的标准差。",
    ),
    "symmetric-units": Said(
        ("Units are copies of each other", "神经元彼此相同"),
        ("share of equal rows", "相同行的比例"),
        "它们得到相同的梯度，永远保持相同。",
        "用随机值代替常数初始化。",
    ),
    "zero-into-norm": Said(
        ("Zeros enter a norm", "零向量进入归一化层"),
        ("share of positions that are zero", "零向量位置的比例"),
        "每经过一个归一化层，零向量的梯度放大 1/√ε 倍：损失正常，梯度却不正常。",
        "给这些行填上数值，或屏蔽这些位置。",
    ),
    "input-lost": Said(
        ("The output does not depend on the input", "输出与输入无关"),
        ("variation of the outputs over their size", "输出的变化与其大小之比"),
        "模型看不到输入，只能学到先验。",
        "检查靠前各层是否为零或过小。",
    ),
    "dead-parameter": Said(
        ("A parameter never gets a gradient", "参数始终没有梯度"),
        ("tensors without a gradient", "没有梯度的张量个数"),
        "它永远不会训练。",
        "不要把同一条路径上的两个因子都设为零。",
    ),
    "not-loaded": Said(
        ("The checkpoint was hardly loaded", "检查点几乎没有被加载"),
        ("share of its tensors that were loaded", "已加载张量的比例"),
        "训练并不是从检查点的权重开始，而且没有任何报错。",
        "改正检查点键名的前缀，或用 Pretrained 规则加载：它会说明哪些键对得上。",
    ),
    "starts-later": Said(
        ("A parameter starts to learn after a step", "参数在第一步之后才开始学习"),
        ("tensors without a gradient at first", "第一步没有梯度的张量个数"),
        "这通常是有意为之（零初始化的输出层或残差分支）。",
        "无需处理。",
    ),
    "unused-parameter": Said(
        ("A parameter is not used", "参数未被使用"),
        ("parameters without a gradient", "没有梯度的参数个数"),
        "它被意外冻结；在 DDP 中还会报错。",
        "在前向计算中使用它，或把它删除。",
    ),
    "update-too-large": Said(
        ("The first step is too large", "第一步更新过大"),
        ("size of the step over that of the weights", "更新量与权重之比"),
        "第一步就会抹去初始化。",
        "降低学习率，或增大该权重的标准差。",
    ),
    "update-too-small": Said(
        ("The steps are too small", "更新过小"),
        ("median size of the step over that of the weights", "更新量与权重之比的中位数"),
        "训练停滞不前。",
        "提高学习率。",
    ),
    "bf16-no-update": Said(
        ("Steps are lost in bfloat16", "更新在 bfloat16 中被舍去"),
        ("share of tensors whose step rounds away", "更新被舍入掉的张量比例"),
        "权重以 bfloat16 存储，更新小于其精度，被舍入为零。",
        "以 float32 存储权重（混合精度），或提高学习率。",
    ),
    "fp16-overflow": Said(
        ("float16 is about to overflow", "float16 即将溢出"),
        ("largest number", "最大数值"),
        "超过 65504 就会变成无穷大。",
        "减小该处权重的尺度，或使用 bfloat16。",
    ),
    "fp16-underflow": Said(
        ("Gradients are lost in float16", "梯度在 float16 中下溢"),
        ("share of gradients below the smallest number", "低于最小可表示数的梯度比例"),
        "过小的梯度会变成零，需要损失缩放。",
        "使用 GradScaler，或使用 bfloat16。",
    ),
    "input-scale": Said(
        ("The input is not normalized", "输入未归一化"),
        ("scale of the batch", "输入的尺度"),
        "第一层只看得到一个方向。",
        "归一化输入，例如把像素减去均值再除以标准差。",
    ),
    "class-prior": Said(
        ("The labels are unbalanced", "标签分布不均衡"),
        ("ln C − entropy of the labels", "ln C 与标签熵之差"),
        "让输出层偏置等于标签的对数频率，可以免费降低初始损失。",
        "用 HeadBias 写入输出层偏置。",
    ),
    "gradient-norm": Said(
        ("The gradient is very large", "梯度过大"),
        ("norm of the gradient", "梯度范数"),
        "每一步都由梯度裁剪决定。",
        "减小激活或梯度爆炸之处的尺度。",
    ),
    "probe-diverges": Said(
        ("Training diverges at once", "训练立即发散"),
        ("loss after the probe over that before", "试训后与试训前损失之比"),
        "几步之内损失就上升或变成 NaN。",
        "降低学习率，或先解决其他问题。",
    ),
    "probe-stalls": Said(
        ("Training stands still", "训练停滞"),
        ("fall of the loss", "损失的下降量"),
        "在同一批数据上训练几步，损失也没有下降。",
        "提高学习率，或先解决其他问题。",
    ),
}

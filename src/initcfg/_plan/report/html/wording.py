"""The words of pages, in English and in Chinese. Names, numbers and rules are of no language."""

from __future__ import annotations

from collections.abc import Mapping

from initcfg.errors import LANGUAGES, ArgumentError, filled, nearest

WORDS: dict[str, tuple[str, str]] = {
    # Words of one number before the bar, of others after it.
    "plan": ("Initialization plan", "初始化计划"),
    "ledger": ("Initialization ledger", "初始化账本"),
    "diff": ("What differs between A and B", "A 与 B 的差异"),
    "to the tensors": ("To the list of tensors", "跳到张量列表"),
    "tensors": ("Tensors", "张量"),
    "tensor": ("tensor", "张量"),
    "shape": ("shape", "形状"),
    "value": ("value", "取值"),
    "distribution": ("distribution", "分布"),
    "rule": ("rule", "规则"),
    "written by": ("written by", "写入者"),
    "remarks": ("remarks", "备注"),
    "parameters": ("parameters", "参数"),
    "elements": ("elements", "元素"),
    "rules": ("rules", "规则"),
    "digest": ("digest of the plan", "计划摘要值"),
    "seed": ("seed", "种子"),
    "drawn by a rank": ("drawn by rank {rank} for itself", "由进程 {rank} 自行抽取"),
    "rng": ("generator", "随机数生成器"),
    "stream_version": ("version of the stream", "随机流版本"),
    "versions": ("versions", "版本"),
    "checkpoints": ("checkpoints", "检查点"),
    "by a rule": ("by a rule", "由规则决定"),
    "by code": ("by the model's own code", "由模型自身代码决定"),
    "from a checkpoint": ("from a checkpoint", "来自检查点"),
    "by default": ("by default", "默认值"),
    "search": ("Search", "搜索"),
    "search hint": ("name, value or rule", "名称、取值或规则"),
    "shown": ("{n} of {all} shown", "显示 {n} / {all} 项"),
    "from {a} to {b}": ("from {a} to {b}", "从 {a} 到 {b}"),
    "theory": ("theory", "理论"),
    "weights": ("weights", "实际权重"),
    "weights and theory": ("weights and theory", "实际权重与理论"),
    "histogram ({of}), {said}": ("histogram ({of}), {said}", "直方图（{of}），{said}"),
    "key of weights": ("bars: the weights", "柱：实际权重"),
    "key of theory": ("line: what the rule says", "线：规则给出的分布"),
    "key of theory alone": (
        "filled: what the value says, before a number is drawn",
        "填充：取值给出的分布，尚未抽取任何数",
    ),
    "keeps": ("keeps its constructor's value", "保持构造函数写入的值"),
    "from {source}": ("from {source}", "来自 {source}"),
    "from {source}, {steps}": ("from {source}, {steps}", "来自 {source}，{steps}"),
    "by its own {code}": ("by its own {code}", "由它自己的 {code} 写入"),
    "default ({rule})": ("default ({rule})", "默认（{rule}）"),
    "default": ("default", "默认"),
    "frozen": ("frozen", "已冻结"),
    "buffer": ("buffer", "缓冲区"),
    "also called {names}": ("also called {names}", "别名 {names}"),
    "instead of {value} by {rule}": ("instead of {value} by {rule}", "覆盖了 {rule} 的 {value}"),
    "changed by its parametrization": ("changed by its parametrization", "被参数化改变"),
    "{n} of them": ("{n} of them", "共 {n} 个"),
    "merged": (
        "The model has {n} tensors; those of repeated layers share a row.",
        "模型共有 {n} 个张量；重复层中相同的张量合并为一行。",
    ),
    "attention": ("Worth a look", "值得留意"),
    "unused rule": ("unused rule", "未生效的规则"),
    "unused said": ("{rule}: {reason}. {cfg}", "{rule}：{reason}。{cfg}"),
    "overridden": ("overridden rule", "被覆盖的规则"),
    "overridden said": (
        "{rule}: all that it writes is written over by {by}. {cfg}",
        "{rule}：它写的全部内容都被 {by} 覆盖。{cfg}",
    ),
    "title:": ("{title}: ", "{title}："),
    "never written": ("never written", "从未写入"),
    "partly written": ("partly written", "仅部分写入"),
    "note": ("note", "说明"),
    "checkpoint": ("checkpoint", "检查点"),
    "not called": ("its own init_weights() is not called", "不会调用它自己的 init_weights()"),
    "and {n} more": ("and {n} more", "另有 {n} 项"),
    "{n} rules": ("{n} rule|{n} rules", "{n} 条规则"),
    "{n} tensors": ("{n} tensor|{n} tensors", "{n} 个张量"),
    "rule and place": ("Rules", "规则一览"),
    "written at": ("written at", "所在位置"),
    "entry": ("entry", "内容"),
    "reaches": ("decides", "决定"),
    "rule by": ("a rule", "规则"),
    "default by": ("its constructor", "构造函数"),
    "code by": ("code: {code}", "代码：{code}"),
    "nobody by": ("nobody: kept", "无人写入：保持原值"),
    "computed": ("computed", "计算得出"),
    "changed": ("Changed", "有变化"),
    "only in A": ("Only in A", "仅在 A 中"),
    "only in B": ("Only in B", "仅在 B 中"),
    "tied": ("Tied on one side alone", "仅一侧共享"),
    "own tensor": ("its own tensor", "独立张量"),
    "tied to {name}": ("tied to {name}", "与 {name} 共享"),
    "settings": ("Settings that differ", "不同的设置"),
    "setting": ("setting", "设置"),
    "alike": ("alike", "相同"),
    "nothing differs": ("Nothing differs.", "没有差异。"),
    "why": ("why", "原因"),
    "whole": ("Search, histograms and more: {call}", "搜索、直方图等更多内容：{call}"),
    "numbers": ("The numbers as a table", "以表格查看数据"),
    "no pictures": (
        "Pictures need matplotlib: pip install 'initcfg[report]'. Their numbers are in the tables.",
        "图片需要 matplotlib：pip install 'initcfg[report]'。数据见下方各表。",
    ),
    "scale of tensors": ("Standard deviation of each tensor", "各张量的标准差"),
    "scale of tensors said": (
        "Planned standard deviation of each tensor in the model's order, logarithmic; "
        "what is constant has none and stands at the bottom.",
        "按模型顺序排列的各张量的计划标准差（对数坐标）；常数张量没有标准差，位于底部。",
    ),
    "deviation": ("standard deviation", "标准差"),
    "mean": ("mean", "均值"),
    "order": ("tensors in order", "张量顺序"),
}


class Wording:
    """The words of one language."""

    def __init__(self, lang: str, more: Mapping[str, tuple[str, str]] | None = None) -> None:
        if lang not in LANGUAGES:
            raise ArgumentError(
                f"There are no words of the language {lang!r}.",
                meant=nearest(str(lang), LANGUAGES),
                fix="Write lang='en' or lang='zh'.",
            )
        self.lang = lang
        self.tag = "zh-Hans" if lang == "zh" else lang
        self._place = LANGUAGES.index(lang)
        self._words = {**WORDS, **(more or {})}

    def __call__(self, key: str, **given: object) -> str:
        """The words for ``key``, with what is given put in."""
        return filled(self._words[key][self._place], given)

"""What planners say, in Chinese: their sentences are English in every plan, and known again by their words.

What stands in no table (errors of other people's code, remarks of a person's own initializer) stays as it is.
"""

from __future__ import annotations

import itertools
import re

from initcfg.errors import Sentences

_UNUSED: dict[str, tuple[str, str]] = {
    "no key": ("no key of the checkpoint fits a tensor of the module", "检查点中没有与该模块的张量相符的键"),
    "holds nothing": ("what it names holds no weight and no bias", "它所指的模块没有权重也没有偏置"),
    "selects nothing": (
        "it has neither layer, name, param, role nor override, so it initializes nothing",
        "它没有 layer、name、param、role 或 override，因此不初始化任何张量",
    ),
    "no role": (
        "no tensor here that is not excluded has the role {roles}",
        "此处未被排除的张量中，没有角色为 {roles} 的",
    ),
    "all excluded": ("everything that it selects is excluded", "它选中的全部张量都已被排除"),
    "nothing selected": (
        "no {layers} what its patterns select holds anything that it could set",
        "在其模式所选的范围内，没有哪个 {layers} 含有它能设置的内容",
    ),
    "nothing here": (
        "no {layers} here holds anything that it could set",
        "此处没有哪个 {layers} 含有它能设置的内容",
    ),
    "none in the model": ("there is no {layers} at or below the model", "模型中没有 {layers}"),
    "none below": ("there is no {layers} at or below {owner}", "{owner} 及其内部没有 {layers}"),
    "no part": ("no part of it reaches anything", "它的任何部分都没有作用到张量"),
    "no method": ("no module that it means has an init_weights()", "它所指的模块都没有 init_weights()"),
    "no module": ("it selects no module here", "它在此处没有选中任何模块"),
    "its module before": (
        "its module was initialized before (is_init=True)",
        "它所在的模块此前已初始化（is_init=True）",
    ),
    "the model before": (
        "the model was initialized before (is_init=True)",
        "模型此前已初始化（is_init=True）",
    ),
    "in the model before": (
        "the model, in which it lies, was initialized before (is_init=True)",
        "它所在的模型此前已初始化（is_init=True）",
    ),
    "in a module before": (
        "{module}, in which it lies, was initialized before (is_init=True)",
        "包含它的 {module} 此前已初始化（is_init=True）",
    ),
    "code instead": (
        "{code} takes its place, and does not call super().init_weights()",
        "{code} 取代了它，且没有调用 super().init_weights()",
    ),
    "code above instead": (
        "{code} of {module}, in which it lies, does not call the init_weights() of its module",
        "包含它的 {module} 的 {code} 没有调用其所在模块的 init_weights()",
    ),
    "not read": (
        "its module has no init_weights(), so that MMEngine does not read it",
        "它所在的模块没有 init_weights()，因此 MMEngine 不会读取它",
    ),
    "not entered": (
        "{module}, in which it lies, has no init_weights(), so that MMEngine does not look into it",
        "包含它的 {module} 没有 init_weights()，因此 MMEngine 不会进入其中",
    ),
    "override of nothing": (
        "{reason}; its override names {names}, which is no attribute there",
        "{reason}；其 override 所指的 {names} 在那里并不是属性",
    ),
    "never run by its library": (
        "its library never runs it, and it cannot be: {problem}",
        "它的库从不运行它，而且它也无法运行：{problem}",
    ),
}
_NOTES: dict[str, tuple[str, str]] = {
    "initialized before": (
        "{model} was initialized before (is_init=True), and does not run its rules again; set is_init=False "
        "on it, and on the modules in it, to initialize it anew",
        "{model} 此前已初始化（is_init=True），不会再次运行其规则；若要重新初始化，"
        "请把它及其内部各模块的 is_init 设为 False",
    ),
    "no BaseModule": (
        "{method}() is called, though a {kind} is no BaseModule: it beats the rules of its parents",
        "{kind} 不是 BaseModule，但仍会调用 {method}()：它优先于上层模块的规则",
    ),
    "looks and fails": (
        "The code looks at random numbers ({place}) and cannot be run on others ({error}): what depends on "
        "them may be missed.",
        "代码会查看随机数（{place}），换用其他随机数则无法运行（{error}）：依赖这些数的内容可能被遗漏。",
    ),
    "looks": (
        "at {place} code looks at random numbers: what it does after may be otherwise for others",
        "代码在 {place} 查看随机数：换成其他随机数，其后的行为可能不同",
    ),
    "while built": ("While the model was built, {what}.", "构建模型期间：{what}。"),
    "left sparse": (
        "{tensor} is sparse or quantized: the plan leaves it as the model has it.",
        "{tensor} 是稀疏或量化张量：计划保持其在模型中的原值。",
    ),
    "left sparse beside": (
        "{tensor} is sparse or quantized: the plan leaves it as the model has it, and no longer fits "
        "{names}.",
        "{tensor} 是稀疏或量化张量：计划保持其在模型中的原值，因而它与 {names} 不再相符。",
    ),
    "empty": (
        "memory that the code leaves as torch.empty gives it is filled with zeros: {names}",
        "代码用 torch.empty 分配后未写入的内存以零填充：{names}",
    ),
    "undone": (
        "What that code did to global generators while it was planned has been undone.",
        "制定计划时该代码对全局生成器的改动已被撤销。",
    ),
    "global generators": (
        "The code draws from Python's or NumPy's global generator, which the seed of a plan does not set.",
        "代码使用了 Python 或 NumPy 的全局生成器，计划的种子不会设置它们。",
    ),
    "seeds": (
        "The code seeds torch's generator, or saves its state ({place}): under the stream the seed of apply "
        "decides instead. The same draws from the same state stay the same; draws of other kinds or shapes "
        "are independent.",
        "代码设置了 torch 生成器的种子或保存了其状态（{place}）：在随机流下改由 apply 的种子决定。"
        "由同一状态进行的相同抽样保持相同；不同种类或形状的抽样相互独立。",
    ),
    "seeds globals": ("{code} seeds {whose} global generator", "{code} 设置了 {whose} 全局生成器的种子"),
    "draws from globals": (
        "{code} draws from {whose} global generator, which the seed of a plan does not set",
        "{code} 使用了 {whose} 的全局生成器，计划的种子不会设置它",
    ),
    "draws unseeded": (
        "{code} takes numbers from an unseeded {what}, which no seed decides: they are others each time it "
        "runs",
        "{code} 从未设种子的 {what} 取数，它不受任何种子控制：每次运行都不同",
    ),
    "draws anew": (
        "{code} takes numbers from {what}, which no seed decides: they are others each time it runs",
        "{code} 从 {what} 取数，它不受任何种子控制：每次运行都不同",
    ),
    "seed anew": (
        "{code} takes a seed from torch.Generator.seed, which no seed decides: they are others each time it "
        "runs",
        "{code} 从 torch.Generator.seed 取种子，它不受任何种子控制：每次运行都不同",
    ),
    "clock": (
        "{code} reads the clock (time.{name}): what it makes of it is another thing each time",
        "{code} 读取时钟（time.{name}）：由此得到的结果每次都不同",
    ),
    "thread": (
        "{place} starts a thread that goes on after it: what that writes later is not in the plan",
        "{place} 启动的线程在其结束后仍在运行：线程之后写入的内容不在计划之内",
    ),
    "sets": ("{code} sets torch's generator ({call})", "{code} 设置了 torch 的生成器（{call}）"),
    "loads few of other names": (
        "{code} loads {loaded} of {given} tensors by load_state_dict(strict=False): {kind} has no "
        "{stranger}, and the checkpoint no {lacking}",
        "{code} 用 load_state_dict(strict=False) 只加载了 {given} 个张量中的 {loaded} 个："
        "{kind} 中没有 {stranger}，检查点中没有 {lacking}",
    ),
    "loads few": (
        "{code} loads {loaded} of {given} tensors by load_state_dict(strict=False): {kind} has no {stranger}",
        "{code} 用 load_state_dict(strict=False) 只加载了 {given} 个张量中的 {loaded} 个："
        "{kind} 中没有 {stranger}",
    ),
    "run when it loads": (
        "{method} is run when the plan is applied, and not before: it loads {file}.",
        "{method} 在应用计划时才运行：它要加载 {file}。",
    ),
    "run when it raised": (
        "{method} is run when the plan is applied, and not before: it raised {error} when it was tried.",
        "{method} 在应用计划时才运行：试运行时引发了 {error}。",
    ),
    "over library": (
        "{method}() is called, as MMEngine does, and writes over {n} {tensors} that {library}'s "
        "constructors, or a checkpoint, gave",
        "与 MMEngine 一样会调用 {method}()，它将覆盖由 {library} 的构造函数或检查点给出的 {n} 个张量",
    ),
    "computed": (
        "{n} {tensors} computed from data: the plan is for seed {seed} alone",
        "有 {n} 个张量由数据计算得出：该计划只适用于种子 {seed}",
    ),
    "parametrized": (
        "{tensor} is written through {kinds}, which may make something else of it; the ledger says if it did",
        "{tensor} 经由 {kinds} 写入，结果可能不同；是否有变见账本",
    ),
    "sampler": (
        "under rng='torch', MMEngine's own sampler in {dtype} puts about one of {n} numbers on a bound of "
        "{value}, and so it is here; without compat='mmengine' torch's own is used.",
        "rng='torch' 时，MMEngine 自带的采样器在 {dtype} 下约每 {n} 个数就有一个落在 {value} 的边界上，"
        "此处也是如此；不用 compat='mmengine' 时则使用 torch 自己的采样器。",
    ),
    "leaves matrices": (
        "{scheme} leaves {n} of {all} matrices as they were constructed: {names}",
        "{scheme} 未涉及 {all} 个矩阵中的 {n} 个，它们保持构造时的值：{names}",
    ),
    "half done": (
        "{scheme} is half done by initial weights: {rest}",
        "{scheme} 只靠初始权重还不完整：{rest}",
    ),
    "deep norm": (
        "the model must compute norm(α·x + f(x)), with α = (2·layers)^¼ where there is one stack",
        "模型须计算 norm(α·x + f(x))，只有一个层堆叠时 α = (2·layers)^¼",
    ),
    "deep norm of two": (
        "the model must compute norm(α·x + f(x)), with α = {one} in the encoder and {other} in the decoder",
        "模型须计算 norm(α·x + f(x))，编码器中 α = {one}，解码器中 α = {other}",
    ),
    "deep norm of one": (
        "the model must compute norm(α·x + f(x)), with α = {formula}",
        "模型须计算 norm(α·x + f(x))，其中 α = {formula}",
    ),
    "sub-norm": (
        "each branch must have a norm before its output projection (sub-LayerNorm)",
        "每个分支的输出投影之前须有归一化层（sub-LayerNorm）",
    ),
    "no norm": (
        "the model must have no LayerNorm, and training no warm-up",
        "模型不得使用 LayerNorm，训练不得使用预热",
    ),
    "normalized": (
        "the model must normalize its matrices after each step, and its hidden states in forward",
        "模型须在每一步之后归一化其矩阵，并在前向计算中归一化隐藏状态",
    ),
    "multiplied": (
        "each layer must multiply its weight by lr_mul / √fan_in",
        "每一层须将其权重乘以 lr_mul / √fan_in",
    ),
    "by paths": (
        "each operation must normalize by its paths and inputs (path_normalization)",
        "每个运算须按其路径与输入归一化（path_normalization）",
    ),
    "scalars": (
        "the model must have a scalar bias before each layer, a scalar scale in each branch, and no norm",
        "模型须在每层之前有一个标量偏置，在每个分支中有一个标量系数，且没有归一化层",
    ),
    "lazy": (
        "{names}: lazy, without a shape until they have seen data. The plan leaves them alone, and their "
        "layers fill them with the first batch.",
        "{names}：惰性张量，见到数据之前没有形状。计划不涉及它们，由各自的层在处理第一批数据时填充。",
    ),
    "compiled, named": (
        "{module} is compiled by torch.jit (from a {kind}): layer= does not mean its modules any more; name= "
        "and param= reach its tensors.",
        "{module} 由 torch.jit 编译（来自 {kind}）：layer= 不再指其中的模块，name= 与 param= 仍可指其张量。",
    ),
    "compiled, constants": (
        "{module} is compiled by torch.jit (from a {kind}): it holds its weights as constants, which nothing "
        "can write.",
        "{module} 由 torch.jit 编译（来自 {kind}）：其权重是常量，无法写入。",
    ),
    "bounds": (
        "the bounds a={a}, b={b} are absolute values, {low} and {high} sigma away at std={std}: they cut "
        "nothing. For ±2 sigma write a_sigma=-2, b_sigma=2.",
        "边界 a={a}、b={b} 是绝对值，在 std={std} 时分别位于 {low} 与 {high} 个标准差处，不会截断任何数。"
        "若要截断在 ±2 个标准差，请写 a_sigma=-2, b_sigma=2。",
    ),
    "not known": (
        "not known, and taken to change nothing: {names}",
        "未知，按不改变任何内容处理：{names}",
    ),
    "no scale helps": (
        "their input is zero, and no scale helps: {names}",
        "其输入为零，任何尺度都无济于事：{names}",
    ),
    "do not keep": (
        "outputs do not keep their scale: the last has standard deviation {std}",
        "各层输出没有保持尺度：最后一层的标准差为 {std}",
    ),
    "not both": (
        "where outputs keep their scale, gradients are multiplied by {each} from layer to layer ({whole} "
        "over {n}), and no scale of weights keeps both",
        "输出保持尺度时，梯度逐层乘以 {each}（{n} 层合计 {whole}），没有任何权重尺度能同时保持两者",
    ),
    "drift apart": (
        "no scale keeps single samples: they drift apart, until at {layer} they differ by a factor of "
        "{factor} (one standard deviation); a norm between layers, or wider layers, would keep them together",
        "没有任何尺度能保持单个样本：样本之间逐渐分散，到 {layer} 处相差 {factor} 倍（一个标准差）；"
        "在层间加入归一化或加宽各层可使其保持一致",
    ),
    "guessed": ("guessed from names: {why}", "由名称推测：{why}"),
    "seen as far": (
        "seen as far as forward came, which raised {error}",
        "只看到前向计算中断之处，它引发了 {error}",
    ),
    "both kinds": (
        "{role}: {n} declared and not seen ({one}), {m} seen and not declared ({other})",
        "{role}：{n} 个声明了但未观察到（{one}），{m} 个观察到但未声明（{other}）",
    ),
    "not seen": (
        "{role}: {n} declared and not seen ({one})",
        "{role}：{n} 个声明了但未观察到（{one}）",
    ),
    "not declared": (
        "{role}: {n} seen and not declared ({other})",
        "{role}：{n} 个观察到但未声明（{other}）",
    ),
    "as siblings": (
        "{n} {tensors} that no data reached: as their siblings",
        "{n} 个张量没有数据经过：按同类张量处理",
    ),
}
_VALUES: dict[str, tuple[str, str]] = {
    "padding": ("{value}, row {index} zero", "{value}，第 {index} 行为零"),
    "repeat": ("{value}, each {times} times along {dim}", "{value}，沿第 {dim} 维各重复 {times} 次"),
    "rows": (
        "{value}, times {n} numbers, {span} along axis {axis}",
        "{value}，沿第 {axis} 轴乘以 {n} 个数（{span}）",
    ),
    "by chance": (
        "{code}: it depends on random numbers at which the code looks ({place})",
        "{code}（取决于代码所查看的随机数：{place}）",
    ),
    "copy": ("copy of {source}: {value}", "{source} 的副本：{value}"),
}
# One warning has some of these, in this order.
_OF_LOADS = (
    ("{whole} loaded in part: {file} has no {half}", "{whole} 只加载了一部分：{file} 中没有 {half}"),
    (
        "{n} of {all} {parameters} not loaded from {source} ({left})",
        "{all} 个参数中有 {n} 个未从 {source} 加载（{left}）",
    ),
    ("{m} {keys} of {origin} {fit} nothing ({untaken})", "{origin} 中有 {m} 个键无处可用（{untaken}）"),
)
_SILENCED = (" ignore=[...] silences it.", "可用 ignore=[...] 关闭此提示。")
_LOADS = {
    f"{count} {number} {bool(end[0])}": (
        f"{', '.join(each[0] for each in some)}.{end[0]}",
        f"{'，'.join(each[1] for each in some)}。{end[1]}",
    )
    for end in (_SILENCED, ("", ""))
    for count in (3, 2, 1)
    for number, some in enumerate(itertools.combinations(_OF_LOADS, count))
}
_REASONS, _REMARKS = Sentences(_UNUSED), Sentences(_NOTES)
_WARNINGS, _OF_VALUES = Sentences(_LOADS), Sentences(_VALUES)
# Words that stand at the end of a list, or are a thing of the language in a name's place.
_SMALL = {
    "the model": "模型",
    "The model": "模型",
    "it": "该检查点",
    "Python's": "Python",
    "NumPy's": "NumPy",
    "Python's or NumPy's generator": "Python 或 NumPy 的生成器",
}
_CHINESE = re.compile("[\u4e00-\u9fff]")
_GAP = re.compile("(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])")
_MORE = re.compile(r" and (\d+) more$")
# Before a remark stands the rule that it is of, or what roles it is about.
_OF_RULE = re.compile(r"(?P<rule>roles|[\w.]*init_cfg[^:\s]*|code): (?P<rest>.+)", re.DOTALL)


def reason_words(reason: str, lang: str) -> str:
    """Why a rule reaches nothing, in the language of a page."""
    return reason if lang == "en" else _translated(_REASONS, reason, lang) or reason


def warning_words(warning: str, lang: str) -> str:
    """What a checkpoint leaves, in the language of a page."""
    return warning if lang == "en" else _translated(_WARNINGS, warning, lang) or warning


def value_text(value: str, lang: str) -> str:
    """A value as a plan prints it, in the language of a page."""
    return value if lang == "en" else _translated(_OF_VALUES, value, lang) or value


def note_words(note: str, lang: str) -> str:
    """A remark of a plan, in the language of a page."""
    if lang == "en":
        return note
    of_rule = _OF_RULE.fullmatch(note)
    if of_rule is None:
        found = _translated(_REMARKS, note, lang) or _translated(_REMARKS, note.removesuffix("."), lang)
        return found or note
    rest = note_words(of_rule["rest"], lang)
    head = "角色" if of_rule["rule"] == "roles" else of_rule["rule"]
    return f"{head}：{rest}" if rest != of_rule["rest"] else note


def _translated(sentences: Sentences, text: str, lang: str) -> str | None:
    read = sentences.read(text)
    if read is None:
        return None
    key, given = read
    told = {name: _inside(sentences, item, lang) for name, item in given.items()}
    return _GAP.sub("", sentences.written(key, told, lang))


def _inside(sentences: Sentences, item: str, lang: str) -> str:
    """What stands in a slot: a name as it is; a sentence or a word of the language in Chinese."""
    if item in _SMALL:
        return _SMALL[item]
    return _MORE.sub(r" 等（另有 \1 个）", _translated(sentences, item, lang) or item)


def is_chinese(text: str) -> bool:
    """Whether there is any Chinese in a text."""
    return _CHINESE.search(text) is not None

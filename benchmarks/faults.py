"""Faults, by command: what each gives, in a process of its own with a limit of time and memory.

    python benchmarks/faults.py             # the table, also written to benchmarks/faults.md
    python benchmarks/faults.py WORD ...    # only faults whose names contain a word

Each row is judged: ``ok`` (the right value, or one clear error), ``raw`` (an exception of Python or of a library),
``hang`` (longer than 60 seconds), ``crash`` (ended by a signal), ``silent`` (a wrong value, and nothing was said).
"""

# ruff: noqa: E501 (a fault a line)

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SECONDS, MEMORY = 60, 6 << 30
HERE = Path(__file__).resolve().parent

# Before each piece of Python: what most of them take.
HEAD = """
import copy, json, math, os, sys, warnings
warnings.simplefilter("ignore")
import torch, initcfg
from torch import nn
from safetensors.torch import save_file
from initcfg import Config
from initcfg.errors import InitcfgError
RULE = dict(type="Normal", layer="Linear", std=0.1)
def plan_json(change=None, **value):
    made = initcfg.plan(nn.Linear(8, 8), RULE).to_json()
    if value:
        made["parameters"]["weight"]["value"] = value
    if change:
        change(made)
    return made
def apply(made):
    model = nn.Linear(8, 8)
    initcfg.Plan.from_json(made).apply(model, seed=0)
    return model
def refused(run, *words):
    try:
        run()
    except InitcfgError as error:
        assert error.fix or error.meant or str(error), error
        assert all(word in str(error) for word in words), str(error)
    else:
        print("SILENT: nothing was refused")
        sys.exit(3)
def right(found, wanted):
    if found != wanted:
        print("SILENT:", found, "is not", wanted)
        sys.exit(3)
"""


@dataclass(frozen=True)
class Fault:
    """A fault: where it is met, what it is, and how it is shown: words of the command, or Python."""

    where: str
    what: str
    words: tuple[str, ...] = ()
    code: str = ""
    # Exit codes of the command that are right: 2 for an error, 0 or 1 where there is an answer.
    right: tuple[int, ...] = (2,)
    shell: str = ""


def command(where: str, what: str, *words: str, right: tuple[int, ...] = (2,)) -> Fault:
    return Fault(where, what, words, right=right)


def python(where: str, what: str, code: str) -> Fault:
    return Fault(where, what, code=textwrap.dedent(code))


def shell(where: str, what: str, line: str, *right: int) -> Fault:
    return Fault(where, what, shell=line, right=right)


# -- files ------------------------------------------------------------------------------------------


def colliding_keys(count: int) -> bytes:
    """A pickle of a dict whose keys, pairs of numbers, all have one hash in CPython."""
    mask, first, second, fifth = (
        (1 << 64) - 1,
        11400714785074694791,
        14029467366897019727,
        2870177450012600261,
    )

    def rotated(number: int) -> int:
        return ((number << 31) | (number >> 33)) & mask

    def packed(number: int) -> bytes:
        data = number.to_bytes((number.bit_length() + 8) // 8, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    inverse, target = pow(second, -1, 1 << 64), (rotated((fifth + second) & mask) * first + 7 * second) & mask
    body, left, done = b"\x80\x02}(", 1, 0
    while done < count:
        right = ((target - rotated((fifth + left * second) & mask) * first) * inverse) & mask
        right -= (1 << 64) if right >= 1 << 63 else 0
        if abs(right) <= (1 << 61) - 2 and right != -1:
            body, done = body + packed(left) + packed(right) + b"\x86N", done + 1
        left += 1
    return body + b"u."


def pickled(path: str, body: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)


def safetensors(path: str, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def prepare() -> None:
    """The files that the faults take, in the current folder."""
    text = {
        "own.py": "import initcfg\nfrom torch import nn\n@initcfg.MODELS.register_module()\n"
        "class Net(initcfg.BaseModule):\n    def __init__(self, init_cfg=None):\n"
        "        super().__init__(init_cfg)\n        self.fc = nn.Linear(2, 2)\n",
        "good.yaml": "imports: [own]\nmodel: {type: Net, init_cfg: {type: Constant, val: 1, layer: Linear}}\n",
        "system.yaml": "model: {type: os.system, command: 'touch owned'}\n",
        "rule.yaml": "imports: [own]\nmodel: {type: Net, init_cfg: {type: os.system, command: 'touch owned', param: weight}}\n",
        "nested.yaml": "model: {type: torch.nn.Linear, in_features: {type: os.getpid}, out_features: 2}\n",
        "int.yaml": "model: {type: builtins.int}\n",
        "zero.yaml": "_base_: /dev/zero\n",
        "selfbase.yaml": "_base_: selfbase.yaml\n",
        "tagged.yaml": "model: !!python/object/apply:os.system ['touch owned']\n",
        "deep.json": "[" * 700 + "]" * 700,
        "deeper.json": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "digits.json": '{"model": ' + "9" * 5000 + "}",
        "digits.yaml": "model: " + "9" * 5000 + "\n",
        "spaces.yaml": "# {{$a:" + " " * 60_000 + "\nx: 1\n",
        "braces.yaml": "# " + "{{$a:" * 40_000 + "\nx: 1\n",
        "anchors.yaml": "a0: &a0 {k: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 8)),
        "laughs.yaml": "a0: &a0 [x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
        "twice.json": "{" + ",".join(f'"k{n}": 1' for n in range(200_000)) + ', "k1": 2}',
        "ledger.ledger.json": '{"format": "initcfg-ledger", "version": 1}',
        "nested.ledger.json": '{"format": "initcfg-ledger", "version": 1, "tensors": '
        + "[" * 400
        + "]" * 400
        + "}",
        "binary.yaml": "",
        "latin.yaml": "",
        "afile": "x",
    }
    for name, content in text.items():
        Path(name).write_text(content)
    Path("binary.yaml").write_bytes(bytes(range(256)) * 40)
    Path("latin.yaml").write_bytes("model: größe".encode("latin-1"))
    for name in ("x.pth", "x.yaml", "x.safetensors"):
        os.mkfifo(f"pipe{name[1:]}")
        os.symlink(f"loop{name[1:]}", f"loop{name[1:]}")
        os.mkdir(f"folder{name[1:]}")
    pickled("hashes.pth", colliding_keys(8000))
    pickled("system.pth", b"cos\nsystem\n(S'touch owned'\ntR.")
    pickled("sets.pth", b"\x80\x04(" + b"\x8f" * 2_000_000 + b"t.")
    pickled("dicts.pth", b"\x80\x02(" + b"}" * 2_000_000 + b"t.")
    pickled("memo.pth", b"\x80\x02" + b"]r\xff\xff\xff\x7f" + b".")
    pickled("short.pth", b"\x80\x02X\xff\xff\xff\x7fabc.")
    Path("cut.pth").write_bytes(Path("hashes.pth").read_bytes()[:-40])
    safetensors(
        "huge.safetensors",
        {"w": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}},
        b"0000",
    )
    safetensors(
        "over.safetensors", {k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in "ab"}, b"0000"
    )
    safetensors("deep.safetensors", b'{"a":' * 100_000)
    Path("long.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with open("index.safetensors.index.json", "w") as file:
        json.dump({"weight_map": {"w": "../../../../etc/passwd"}}, file)


# -- the faults ---------------------------------------------------------------------------------------

FORMULA = '[["data",[1,1],"int64",[10**12]],["data",[1],"float32",[1.0]],["_sparse_coo_tensor_unsafe","$0","$1",[64]],["to_dense","$2"],["result","$3"]]'
LEDGER = f"""
model = nn.Linear(8, 8)
ledger = initcfg.init_weights(model, RULE, seed=0).to_json()
ledger["tensors"]["weight"]["value"] = {{"kind": "Formula", "program": {FORMULA}}}
save_file({{k: v.detach() for k, v in model.state_dict().items()}}, "formula.safetensors", {{"initcfg.ledger": json.dumps(ledger)}})
os.environ["INITCFG_TRACEBACK"] = ""
from initcfg._api.command import main
sys.argv = ["initcfg", "verify", "formula.safetensors"]
main(prog_name="initcfg")
"""
NORMAL = '{"kind": "Normal", "mean": 0.0, "std": 1.0}'


def refused_plan(what: str, change: str) -> Fault:
    return python("Plan.from_json", what, f"refused(lambda: apply(plan_json(lambda made: {change})))")


def refused_value(what: str, value: str) -> Fault:
    return python("Plan.from_json", what, f"refused(lambda: apply(plan_json(**{value})))")


def refused_config(what: str, text: str, suffix: str = ".yaml") -> Fault:
    return python("Config", what, f"refused(lambda: Config.fromstring({text}, {suffix!r}))")


DATA = [
    Fault("verify", "a ledger in the file whose formula writes out of bounds", code=LEDGER, right=(2,)),
    refused_value("the same formula in a plan", f'{{"kind": "Formula", "program": {FORMULA}}}'),
    refused_value("a formula that calls system", '{"kind": "Formula", "program": [["system", "id"], ["result", "$0"]]}'),
    refused_value("a formula of 10¹⁰ elements", '{"kind": "Formula", "program": [["zeros", [100000, 100000]], ["result", "$0"]]}'),
    refused_value("a formula that looks ahead", '{"kind": "Formula", "program": [["add", "$5", 1], ["result", "$0"]]}'),
    refused_value("a std of 10⁴⁰⁰", '{"kind": "Normal", "mean": 0.0, "std": 10**400}'),
    refused_value("a std that is a text", '{"kind": "Normal", "mean": 0.0, "std": "0.1"}'),
    refused_value("a std that is true", '{"kind": "Normal", "mean": 0.0, "std": True}'),
    refused_value("a kind that does not exist", '{"kind": "os.system", "command": "id"}'),
    refused_value("parts with a gap", f'{{"kind": "Parts", "dim": 0, "sizes": [2, 2], "values": [{NORMAL}, {NORMAL}]}}'),
    refused_value("parts of a negative size", f'{{"kind": "Parts", "dim": 0, "sizes": [10, -2], "values": [{NORMAL}, {NORMAL}]}}'),
    refused_value("a padding row beyond the tensor", f'{{"kind": "PaddingRow", "index": 99, "value": {NORMAL}}}'),
    refused_value("sparsity 5", '{"kind": "Sparse", "sparsity": 5.0, "std": 0.1}'),
    refused_value("orthogonal rows that do not exist", '{"kind": "Orthogonal", "gain": 1.0, "rows": [10**12], "stack": [], "algorithm": 2}'),
    refused_plan("a shape of text", 'made["parameters"]["weight"].update(shape="88")'),
    refused_plan("a negative shape", 'made["parameters"]["weight"].update(shape=[-8, 8])'),
    refused_plan("an unknown data type", 'made["parameters"]["weight"].update(dtype="float7")'),
    refused_plan("aliases as a list", 'made.update(aliases=["a"])'),
    refused_plan("an alias to nowhere", 'made.update(aliases={"a": "b"})'),
    refused_plan("version true", "made.update(version=True)"),
    refused_plan("an unknown field", "made.update(evil=1)"),
    refused_plan("a missing field", 'made.pop("parameters")'),
    python("Plan.from_json", "copies nested 3,000 deep", f"""
        value = {NORMAL}
        for _ in range(3000):
            value = dict(kind="CopyOf", source="x", value=value)
        refused(lambda: apply(plan_json(**value)))
    """),
    python("Ledger.from_json", "stream version 2", """
        made = initcfg.init_weights(nn.Linear(2, 2), RULE, seed=0).to_json(); made["stream_version"] = "x"
        refused(lambda: initcfg.Ledger.from_json(made))
    """),
    python("plan.diff", "Constant(nan) equals itself, after JSON too", """
        rule = dict(type="Constant", layer="Linear", val=float("nan"))
        plan = initcfg.plan(nn.Linear(2, 2), rule)
        again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
        right((plan == again, plan.digest == again.digest, list(plan.diff(again))), (True, True, []))
        ledger = plan.apply(nn.Linear(2, 2), seed=0); ledger.save("nan.json")
        right(initcfg.Ledger.load("nan.json") == ledger, True)
    """),
    python("plan", "value.args of a plan changed in place", """
        plan = initcfg.plan(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), RULE); before = plan.digest
        try:
            plan["0.weight"].value.args["std"] = 5
        except TypeError:
            pass
        right((plan.digest == before, plan["1.weight"].value.std), (True, 0.1))
    """),
]  # fmt: skip

CALLS = [
    python("init_weights", "seed=np.int64(3): the ledger has an int, and verifies", """
        import numpy as np
        right(initcfg.init_weights(nn.Linear(2, 2), RULE, seed=np.int64(3)).to_json()["seed"], 3)
    """),
    python("init_weights", "seed=torch.tensor(3)", "right(initcfg.init_weights(nn.Linear(2, 2), RULE, seed=torch.tensor(3)).seed, 3)"),
    *(
        python("init_weights", f"seed={seed}, rng={rng}", f"refused(lambda: initcfg.init_weights(nn.Linear(2, 2), RULE, seed={seed}, rng={rng!r}))")
        for seed in ("True", "1.5", "'3'", "-1") for rng in ("stream", "torch")
    ),
    *(
        python("environment", f"{name}={value!r}", f"""
            os.environ[{name!r}] = {value!r}
            refused(lambda: initcfg.init_weights(nn.Linear(300, 300), {use}, seed=0), {name!r})
        """)
        for name, value, use in (
            ("INITCFG_THREADS", "1e9", "RULE"), ("INITCFG_THREADS", "0", "RULE"),
            ("INITCFG_TIMEOUT", "nan", "dict(type='Pretrained', checkpoint='http://127.0.0.1:9/x.pth')"),
            ("INITCFG_RETRIES", "-1", "dict(type='Pretrained', checkpoint='http://127.0.0.1:9/x.pth')"),
        )
    ),
    python("stream", "the sign of zero: kernel and reference", """
        from initcfg.values import Constant, TruncNormal, Uniform
        from initcfg._stream.writing import fill_stream
        for value in (Uniform(0.0, -0.0), Uniform(-1e-310, 0.0), TruncNormal(0.02, 1e-30, -7.5, 0.0), Constant(-math.nan)):
            for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
                made = []
                for kernel in "01":
                    os.environ["INITCFG_KERNEL"] = kernel
                    tensor = torch.empty(300, dtype=dtype); fill_stream(tensor, value, seed=0, name="w")
                    made.append(tensor.view(torch.uint8).tolist())
                right(made[0] == made[1], True)
    """),
    python("plan", "an init_cfg that contains itself", """
        rule = dict(type="Normal", layer="Linear", std=0.1); rule["override"] = rule
        refused(lambda: initcfg.plan(nn.Linear(2, 2), rule))
    """),
    python("plan", "a pattern that backtracks", """
        model = nn.Module(); model.add_module("a" * 30, nn.Linear(2, 2))
        try:
            initcfg.plan(model, dict(type="Constant", val=1, name="re:(a+)+b"))
        except InitcfgError:
            pass
    """),
    python("plan", "a tensor as type", "refused(lambda: initcfg.plan(nn.Linear(2, 2), dict(type=torch.ones(2), layer='Linear')))"),
    python("plan", "a data type as type", "refused(lambda: initcfg.plan(nn.Linear(2, 2), dict(type=torch.float32, layer='Linear')))"),
    python("plan", "checkpoint=nn.Linear", "refused(lambda: initcfg.init_weights(nn.Linear(2, 2), dict(type='Pretrained', checkpoint=nn.Linear), seed=0))"),
    python("plan", "NUL in checkpoint=", "refused(lambda: initcfg.init_weights(nn.Linear(2, 2), dict(type='Pretrained', checkpoint='a\\0b'), seed=0))"),
    python("plan", "a surrogate in checkpoint=", "refused(lambda: initcfg.init_weights(nn.Linear(2, 2), dict(type='Pretrained', checkpoint='\\ud800'), seed=0))"),
    python("plan", "300 characters in checkpoint=", "refused(lambda: initcfg.init_weights(nn.Linear(2, 2), dict(type='Pretrained', checkpoint='x' * 300), seed=0))"),
    python("BaseModule", "BaseModule(array)", """
        import numpy as np
        refused(lambda: initcfg.plan(initcfg.BaseModule(np.ones(2))))
    """),
    python("init_weights", "a checkpoint cut short after it was planned", """
        model = nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 1000))
        save_file(model.state_dict(), "cut.safetensors")
        plan = initcfg.plan(model, dict(type="Pretrained", checkpoint="cut.safetensors"))
        os.truncate("cut.safetensors", 5000)
        refused(lambda: plan.apply(model, seed=0))
    """),
    python("locate", "two addresses, ?author= and ?key=", """
        from initcfg._checkpoints.sources.address import identity
        for name in ("author", "key", "tokenizer", "se"):
            one, other = (identity(f"http://x/w.pth?{name}={who}") for who in ("alice", "bob"))
            right(one != other, True)
    """),
    python("locate", "a cache record that leads out of the cache", """
        from pathlib import Path
        os.environ.update(INITCFG_HOME=os.path.abspath("home"), INITCFG_RETRIES="0")
        from initcfg._checkpoints.sources import locate
        from initcfg._checkpoints.sources.address import key
        victim = Path("home/victim/thesis.tex"); victim.parent.mkdir(parents=True); victim.write_text("precious")
        url = "http://127.0.0.1:9/net.pth"
        Path("home/addresses").mkdir(); Path("home/checkpoints/00").mkdir(parents=True)
        record = dict(origin="x", name="../../victim/thesis.tex", sha256="00", size=1, modified=0, etag=None, last_modified=None, validated=0)
        for text in (json.dumps(record), "[" * 100000, json.dumps(dict(record, size="a", name=5))):
            Path(f"home/addresses/{key(url)}.json").write_text(text)
            refused(lambda: locate(url, offline=True))
        right(victim.exists(), True)
    """),
]  # fmt: skip

CONFIGS = [
    command("plan", "type: os.system", "plan", "system.yaml"),
    command("plan", "a rule of type os.system", "plan", "rule.yaml"),
    command("plan", "a nested type: os.getpid", "plan", "nested.yaml"),
    command("plan", "type: builtins.int", "plan", "int.yaml"),
    command("plan", "--untrusted and imports", "plan", "good.yaml", "--untrusted"),
    command("plan", "_base_: /dev/zero", "plan", "zero.yaml"),
    command("plan", "a base of itself", "plan", "selfbase.yaml"),
    command("plan", "a YAML tag that makes objects", "plan", "tagged.yaml"),
    command("plan", "lists 700 deep", "plan", "deep.json"),
    command("plan", "objects 100,000 deep", "plan", "deeper.json"),
    command("plan", "a number of 5,000 digits, JSON", "plan", "digits.json"),
    command("plan", "a number of 5,000 digits, YAML", "plan", "digits.yaml"),
    command("plan", "a placeholder and 60,000 spaces, in a comment", "plan", "spaces.yaml"),
    command("plan", "40,000 placeholders that never end", "plan", "braces.yaml"),
    command("plan", "YAML merge keys, ten to the seventh", "plan", "anchors.yaml"),
    command("plan", "YAML aliases, ten to the eighth", "plan", "laughs.yaml"),
    command("plan", "a JSON of 200,000 keys, one twice", "plan", "twice.json"),
    command("plan", "a binary file", "plan", "binary.yaml"),
    command("plan", "Latin-1", "plan", "latin.yaml"),
    command("plan", "a pipe", "plan", "pipe.yaml"),
    command("plan", "a folder", "plan", "folder.yaml"),
    command("plan", "a loop of links", "plan", "loop.yaml"),
    command("plan", "a name of 300 characters", "plan", "x" * 300 + ".yaml"),
    command("plan", "a name with a surrogate", "plan", "\udc80x.yaml"),
    command("plan", "--set with 5,000 digits", "plan", "good.yaml", "--set", "model.x=" + "9" * 5000),
    command("plan", "--set with lists 100,000 deep", "plan", "good.yaml", "--set", "model.x=" + "[" * 100_000),
]  # fmt: skip

CHECKPOINTS = [
    command("inspect", "8,000 keys of one hash", "inspect", "hashes.pth", right=(0, 2)),
    command("inspect", "a pickle that calls os.system", "inspect", "system.pth", right=(0, 2)),
    command("inspect", "2,000,000 empty sets", "inspect", "sets.pth"),
    command("inspect", "2,000,000 empty dicts", "inspect", "dicts.pth"),
    command("inspect", "a memo at 2³¹", "inspect", "memo.pth", right=(0, 2)),
    command("inspect", "a text of 2 GB that is not there", "inspect", "short.pth"),
    command("inspect", "a zip cut short", "inspect", "cut.pth"),
    command("inspect", "a tensor of 2⁸⁰ elements", "inspect", "huge.safetensors"),
    command("inspect", "tensors that overlap", "inspect", "over.safetensors"),
    command("inspect", "a header 100,000 deep", "inspect", "deep.safetensors"),
    command("inspect", "a header of 2⁶² bytes", "inspect", "long.safetensors"),
    command("inspect", "an index that leads out of its folder", "inspect", "index.safetensors.index.json"),
    command("inspect", "a pipe", "inspect", "pipe.pth"),
    command("inspect", "a loop of links", "inspect", "loop.pth"),
    command("inspect", "a name of 300 characters", "inspect", "x" * 300),
    command("inspect", "/dev/zero", "inspect", "/dev/zero"),
    command("inspect", "/proc/self/mem", "inspect", "/proc/self/mem"),
    command("inspect", "an address without a server", "inspect", "http://"),
    command("verify", "a pipe named .safetensors", "verify", "pipe.safetensors"),
    command("verify", "a ledger that lacks its fields", "verify", "good.safetensors", "--plan", "ledger.ledger.json"),
    command("verify", "a ledger 400 deep", "verify", "good.safetensors", "--plan", "nested.ledger.json"),
    command("verify", "--seed of 5,000 digits", "verify", "good.safetensors", "--seed", "9" * 5000),
    command("diff", "a pipe named .safetensors", "diff", "pipe.safetensors", "plan.json"),
    command("diff", "a folder named .safetensors", "diff", "folder.safetensors", "plan.json"),
    command("init", "-o of 300 characters", "init", "good.yaml", "-o", "x" * 300 + ".pth"),
    command("init", "-o in a file", "init", "good.yaml", "-o", "afile/x.pth"),
    command("init", "-o without a name", "init", "good.yaml", "-o", ""),
    command("init", "-o is a folder", "init", "good.yaml", "-o", "folder.pth"),
    command("init", "--seed of 5,000 digits", "init", "good.yaml", "-o", "w.pth", "--seed", "9" * 5000),
    command("explain", "a parameter of 5,000 digits", "explain", "good.yaml", "9" * 5000),
    command("trace", "a builder that is no model", "trace", "os:getpid"),
    command("list", "--import of what is no module", "list", "models", "--import", "../x"),
    shell("diff", "| head -1 keeps the exit code", 'initcfg diff good.yaml plan.json | true; exit "${PIPESTATUS[0]}"', 1),
    shell("plan", "standard output closed", "initcfg plan good.yaml >&-", 0, 2),
    shell("inspect", "a full disk", "initcfg inspect good.safetensors > /dev/full", 2),
    shell("inspect", "a name that clears the screen", "initcfg inspect $'\\e[2J\\u202e.pth' 2>&1 | grep -qP '\\x1b|\\xe2\\x80\\xae' && exit 9; exit 2", 2),
]  # fmt: skip

GOOD = """
rule = dict(type="Constant", val=1, layer="Linear")
model = nn.Linear(2, 2)
ledger = initcfg.init_weights(model, rule, seed=0)
save_file({k: v.detach() for k, v in model.state_dict().items()}, "good.safetensors", {"initcfg.ledger": json.dumps(ledger.to_json())})
json.dump(initcfg.plan(model, rule).to_json(), open("plan.json", "w"))
"""


def limits() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(words: list[str]) -> tuple[int | None, str]:
    """The exit code (None after the limit of time), and what was said."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "INITCFG_RETRIES": "0", "COLUMNS": "120"}
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        preexec_fn=limits,  # noqa: PLW1509 (one thread)
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=SECONDS)
            return process.returncode, said.decode(errors="backslashreplace")
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, ""


def judged(fault: Fault) -> tuple[str, str, float]:
    """The verdict, what was said in a line, and the seconds."""
    start = time.perf_counter()
    if fault.code:
        words = [sys.executable, "-c", HEAD + fault.code]
    elif fault.shell:
        words = ["bash", "-c", f'initcfg() {{ {sys.executable} -m initcfg "$@"; }}\n{fault.shell}']
    else:
        words = [sys.executable, "-m", "initcfg", *fault.words]
    code, said = run(words)
    seconds = time.perf_counter() - start
    return _verdict(fault, code, said), _line(said, code), seconds


def _verdict(fault: Fault, code: int | None, said: str) -> str:
    if Path("owned").exists():
        Path("owned").unlink()
        return "silent"
    if code is None:
        return "hang"
    if code < 0 or code in (134, 135, 136, 137, 139):
        return "crash"
    if "Traceback (most recent" in said or "INITCFG_TRACEBACK=1 shows" in said or "Exception ignored" in said:
        return "raw"
    if fault.code and not fault.code.startswith("\nmodel = nn.Linear(8, 8)\nledger"):
        return "ok" if code == 0 else "silent"
    return "ok" if code in fault.right else "silent" if code in (0, 1) else "raw"


def _line(said: str, code: int | None) -> str:
    """The first line that tells something, for the table."""
    lines = [each for each in said.replace(f"{os.getcwd()}/", "").splitlines() if each.strip()] or [""]
    raised = [each for each in lines if each.startswith(("error: ", "SILENT"))]
    first = (raised or ([lines[-1]] if "Traceback" in said else [lines[0]]))[0].removeprefix("error: ")
    first = first if len(first) <= 90 else first[:87] + "..."
    return first.replace("|", "\\|").replace("`", "'") or ("" if code == 0 else f"exit code {code}")


def in_a_folder(fault: Fault) -> tuple[str, str, float]:
    """The same in a folder of its own, with all files that a fault may take."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare()
        if _needs_good(fault):
            subprocess.run([sys.executable, "-c", HEAD + GOOD], check=True)
        found = judged(fault)
        os.chdir(HERE)
    return found


def main(chosen: list[str]) -> None:
    faults = [*DATA, *CALLS, *CONFIGS, *CHECKPOINTS]
    faults = [
        each for each in faults if not chosen or any(word in f"{each.where}: {each.what}" for word in chosen)
    ]
    rows: list[str] = []
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(2) as pool:
        for fault, (verdict, said, seconds) in zip(faults, pool.map(in_a_folder, faults), strict=True):
            counts[verdict] += 1
            shown = verdict if verdict == "ok" else f"**{verdict}**"
            where = fault.what.replace("|", "\\|")
            rows.append(f"| {fault.where} | {where} | {shown} | {said} | {seconds:.1f} |")
            print(rows[-1], flush=True)
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    print(total)
    if not chosen:
        _write(HERE / "faults.md", rows, f"{len(rows)} faults: {total}.")


def _needs_good(fault: Fault) -> bool:
    told = " ".join((*fault.words, fault.shell))
    return "good.safetensors" in told or "plan.json" in told


def _write(path: Path, rows: list[str], total: str) -> None:
    head = [
        "# Faults",
        "",
        "Made by `python benchmarks/faults.py`, which says what the verdicts mean. Each row is a process of its own with "
        f"{SECONDS} seconds and {MEMORY >> 30} GiB.",
        "",
        total,
        "",
        "| where | fault | | what is said | s |",
        "|---|---|---|---|---:|",
    ]
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

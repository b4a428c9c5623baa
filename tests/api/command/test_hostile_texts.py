"""Every command, with names that would steer a terminal, in each place where a stranger puts a text."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from folders import inside
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._api.command import main

# A title, a cleared screen, a forged line, a link in markup, a turned line, no width, a lone carriage return.
E = "\x1b]0;PWNED\x07\x1b[2J\x9b31m"
HOSTILE = f"{E}[red]x[/red][link=file:///x]y[/link]\u202e\u2066\u200b\r\x7f\u2028\nfix: forged"
# What may be part of the name of a file.
IN_PATH = HOSTILE.replace("/", "|")

MODELS = f"""
import torch
import initcfg
from torch import nn

E = {HOSTILE!r}

@initcfg.MODELS.register_module()
class Net(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.bias = nn.Parameter(torch.zeros(2))

class Odd(nn.Linear):
    pass

Odd.__name__ = Odd.__qualname__ = E

@initcfg.MODELS.register_module()
class Hostile(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.add_module(E.replace(".", ""), Odd(2, 2))
        self.token = nn.Parameter(torch.zeros(2))

@initcfg.MODELS.register_module()
class Raising(nn.Module):
    def __init__(self):
        raise RuntimeError(E)

@initcfg.MODELS.register_module()
class OwnCode(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.odd = Odd(2, 2)
    def init_weights(self):
        raise ValueError(E)
"""


class Server(BaseHTTPRequestHandler):
    """Says what steers a terminal, where a reply has room for it."""

    def do_GET(self) -> None:
        self.wfile.write(
            b"HTTP/1.1 404 \x1b[2J\x9bgone\r\nContent-Length: 5\r\nX-Error-Message: \x1b[2J\r\n\r\n\x1b[2Jx"
        )

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hostile_models.py").write_text(MODELS, encoding="utf-8")
    model = nn.Linear(2, 2)
    rule = dict(type="Constant", val=1, layer="Linear")
    plan = initcfg.plan(model, rule).to_json()
    ledger = initcfg.init_weights(model, rule, seed=0).to_json()
    weights = {"weight": model.weight.detach(), "bias": model.bias.detach()}
    torch.save({**weights, HOSTILE: torch.ones(1), "settings": {HOSTILE: HOSTILE}}, folder / "evil.pth")
    torch.save({HOSTILE: {"weight": torch.ones(2, 3)}, "meta": HOSTILE}, folder / "deep.pth")
    (folder / "good.json").write_text(json.dumps(plan))
    evil = copy.deepcopy(plan)
    for name in ("parameters", "rules"):
        evil[name][HOSTILE] = copy.deepcopy(next(iter(evil[name].values())))
    evil["parameters"]["weight"]["rule"] = HOSTILE
    evil["notes"] = [HOSTILE]
    (folder / "evil.json").write_text(json.dumps(evil))
    for number, field in enumerate(("format", "seed", "stream_version", HOSTILE)):
        (folder / f"broken{number}.json").write_text(json.dumps({**evil, field: HOSTILE}))
    told = copy.deepcopy(ledger)
    told["tensors"][HOSTILE] = copy.deepcopy(told["tensors"]["weight"])
    told["tensors"]["weight"]["rule"] = HOSTILE
    told["versions"] = {HOSTILE: HOSTILE}
    (folder / "evil.ledger.json").write_text(json.dumps(told))
    save_file(
        {**weights, HOSTILE: torch.ones(3)},
        folder / "v.safetensors",
        {"initcfg.ledger": json.dumps(told), HOSTILE: HOSTILE},
    )
    save_file({**weights, HOSTILE: torch.ones(3)}, folder / f"{IN_PATH[:60]}.safetensors")
    head = {"__metadata__": {}, HOSTILE: {"dtype": HOSTILE, "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(head).encode()
    (folder / "dtype.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"0000")
    index = {"weight_map": {HOSTILE: IN_PATH}, "metadata": {HOSTILE: HOSTILE}}
    (folder / "index.safetensors.index.json").write_text(json.dumps(index))
    return folder


def config(folder: Path, name: str, **model: Any) -> str:
    """A config as YAML, which JSON is."""
    made = {"imports": ["hostile_models"], "model": {"type": "Net", **model}}
    (folder / name).write_text(json.dumps(made))
    return name


def said(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[str, int]:
    """What a command says, on both streams, with warnings and the log."""
    with inside(folder), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = CliRunner().invoke(main, list(arguments), prog_name="initcfg", env=env)
    # Python shows a warning with its text as it is.
    return done.output + "".join(f"\n{each.message}" for each in caught), done.exit_code


def is_safe(text: str) -> bool:
    return all(
        unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in text if each != "\n"
    )


def no_forged_line(text: str) -> bool:
    return not any(each.startswith("fix: forged") for each in text.split("\n"))


# The words of a command, and its exit code; None where that is not what is asked here.
COMMANDS: dict[str, tuple[list[str], int | None]] = {
    "keys of a checkpoint": (["inspect", "evil.pth"], 0),
    "all of its keys": (["inspect", "evil.pth", "--full"], 0),
    "keys as JSON": (["inspect", "evil.pth", "--json"], 0),
    "wrappers": (["inspect", "deep.pth"], 0),
    "a part": (["inspect", "evil.pth", "--part", HOSTILE], 2),
    "metadata and a ledger": (["inspect", "v.safetensors", "--full"], 0),
    "a type": (["inspect", "dtype.safetensors"], 2),
    "an index": (["inspect", "index.safetensors.index.json"], 2),
    "the name of a file": (["inspect", f"{IN_PATH[:60]}.safetensors"], 0),
    "a file that is not there": (["inspect", f"{IN_PATH}.pth"], 2),
    "a scheme": (["inspect", f"{HOSTILE}://x"], 2),
    "a server's reply": (["inspect", "SERVER/x.pth"], 2),
    "an address": (["inspect", "SERVER/" + E + ".pth"], 2),
    "a host": (["inspect", f"https://{E}/x.pth"], 2),
    "a name of the hub": (["inspect", f"hf://{HOSTILE}/x"], 2),
    "a name of torchvision": (["inspect", f"torchvision://{HOSTILE}"], 2),
    "a ledger that is verified": (["verify", "v.safetensors"], 1),
    "verified, as JSON": (["verify", "v.safetensors", "--json"], 1),
    "verified, in full": (["verify", "v.safetensors", "--full"], 1),
    "verified by a plan": (["verify", "evil.pth", "--plan", "evil.json", "--seed", "0"], 1),
    "a plan that is not there": (["verify", "v.safetensors", "--plan", IN_PATH], 2),
    "a plan": (["diff", "evil.json", "good.json"], 1),
    "a plan as JSON": (["diff", "evil.json", "good.json", "--json"], 1),
    "a ledger": (["diff", "evil.ledger.json", "good.json"], 1),
    **{
        f"a broken plan, {number}": (["diff", f"broken{number}.json", "good.json"], None)
        for number in range(4)
    },
    "--set-a of a plan": (["diff", "evil.json", "good.json", "--set-a", f"{HOSTILE}=1"], 2),
    "a checkpoint of a rule": (["plan", "pretrained.yaml"], 0),
    "a checkpoint of a rule, in full": (["plan", "pretrained.yaml", "--full"], 0),
    "a checkpoint that is applied": (["init", "pretrained.yaml", "-o", "o.safetensors", "--seed", "0"], 0),
    "a checkpoint of other shapes": (["plan", "deep.yaml"], 0),
    "names of modules": (["plan", "modules.yaml"], 0),
    "names of modules, as JSON": (["plan", "modules.yaml", "--json"], 0),
    "a story": (["explain", "modules.yaml", f"{HOSTILE}.weight".replace(".file", "file")], 0),
    "a parameter that is not there": (["explain", "modules.yaml", E + ".weight"], 2),
    "an initialized model": (["init", "modules.yaml", "-o", "m.safetensors", "--seed", "0"], 0),
    "a streamed model": (["init", "modules.yaml", "-o", "shards", "--seed", "0"], 0),
    "a constructor that raises": (["plan", "raising.yaml"], 2),
    "code that raises": (["init", "own.yaml", "-o", "own.safetensors"], 2),
    "code that raises, traced": (["trace", "hostile_models:Raising"], 2),
    "a builder": (["trace", f"hostile_models:{HOSTILE}"], 2),
    "a module to import": (["list", "models", "--import", HOSTILE], 2),
    "registered names": (["list", "models", "--import", "hostile_models"], 0),
    "a choice": (["list", HOSTILE], 2),
    "a command": ([HOSTILE], 2),
    "an option": (["plan", f"--{E}"], 2),
    "a number": (["init", "pretrained.yaml", "-o", "x.pth", "--seed", HOSTILE], 2),
    "a folder of shards": (["init", "pretrained.yaml", "-o", f"x.{IN_PATH}"], 0),
    "a folder to write to": (["init", "pretrained.yaml", "-o", f"{IN_PATH}/x.pth"], 2),
    "an override": (["plan", "pretrained.yaml", "--set", E], 2),
    "the path of an override": (["plan", "pretrained.yaml", "--set", f"model.{HOSTILE}.x=1"], 2),
    "a config that is not there": (["plan", f"{IN_PATH}.yaml"], 2),
    "a builder of torchvision": (["plan", f"torchvision:{HOSTILE}"], 2),
    "a key of a config": (["plan", "key.yaml"], 2),
    "a value of a config": (["plan", "value.yaml"], 2),
    "a type of a config": (["plan", "type.yaml"], 2),
    "a rule's key": (["plan", "rule_key.yaml"], 2),
    "a rule's type": (["plan", "rule_type.yaml"], 2),
    "a rule's layer": (["plan", "rule_layer.yaml"], 0),
    "a rule's pattern": (["plan", "rule_name.yaml"], 2),
    "a rule's argument": (["plan", "rule_value.yaml"], 2),
    "an idle rule": (["plan", "idle.yaml"], 0),
    "a base": (["plan", "base.yaml"], 2),
    "what is no YAML": (["plan", "broken.yaml"], 2),
    "what is no JSON": (["plan", "broken.json.json"], 2),
    "what is no TOML": (["plan", "broken.toml"], 2),
    "what is no Python": (["plan", "broken.py"], 2),
    "Python that raises": (["plan", "raises.py"], 2),
    "a deprecated config": (["plan", "deprecated.yaml"], 0),
    "a threads' variable": (["doctor"], 2),
}
ENVIRONMENT = {"a threads' variable": {"INITCFG_THREADS": HOSTILE}}


@pytest.fixture(scope="module")
def configs(folder: Path) -> Path:
    config(folder, "pretrained.yaml", init_cfg=dict(type="Pretrained", checkpoint="evil.pth"))
    config(folder, "deep.yaml", init_cfg=dict(type="Pretrained", checkpoint="deep.pth", prefix=HOSTILE))
    config(folder, "modules.yaml", type="Hostile", init_cfg=dict(type="Constant", val=1.0, layer=["Linear"]))
    config(folder, "raising.yaml", type="Raising")
    config(folder, "own.yaml", type="OwnCode")
    config(folder, "key.yaml", **{HOSTILE: 1})
    config(folder, "value.yaml", init_cfg=HOSTILE)
    config(folder, "type.yaml", type=HOSTILE)
    rule = dict(type="Constant", val=1.0, layer="Linear")
    config(folder, "rule_key.yaml", init_cfg={**rule, HOSTILE: 1})
    config(folder, "rule_type.yaml", init_cfg={**rule, "type": HOSTILE})
    config(folder, "rule_layer.yaml", init_cfg={**rule, "layer": HOSTILE})
    config(folder, "rule_name.yaml", init_cfg=dict(type="Constant", val=1.0, name=HOSTILE))
    config(folder, "rule_value.yaml", init_cfg={**rule, "val": HOSTILE})
    config(folder, "idle.yaml", init_cfg=[dict(type="Constant", val=1.0, layer="Conv2d", bias=0.0)])
    texts = {
        "base.yaml": json.dumps({"_base_": f"{HOSTILE}.yaml"}),
        "broken.yaml": f"a: [{HOSTILE}\n b: }}",
        "broken.json.json": f'{{"{HOSTILE}": ',
        "broken.toml": f"a = {HOSTILE}",
        "broken.py": f"a = '{E}' +",
        "raises.py": f"raise ValueError({HOSTILE!r})",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    notice = {"expected": HOSTILE, "reference": HOSTILE}
    made = {"imports": ["hostile_models"], "model": {"type": "Net"}, "_deprecation_": notice}
    (folder / "deprecated.yaml").write_text(json.dumps(made))
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    served = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize("what", COMMANDS)
def test_nothing_raw(what: str, configs: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, code = COMMANDS[what]
    for traceback in (False, True):
        if traceback:
            monkeypatch.setenv("INITCFG_TRACEBACK", "1")
        words = [each.replace("SERVER", server) for each in arguments]
        text, found = said(configs, *words, env=ENVIRONMENT.get(what))
        assert is_safe(text), repr(text)
        assert no_forged_line(text) or traceback, text
        assert code in (found, None), text
        if code == 0:
            break
        if not traceback and code == 2:
            assert text.startswith("error: "), text
            assert text.count("error: ") == 1 and "Traceback" not in text


def test_what_a_library_call_prints(configs: Path) -> None:
    """``print(plan)``, its story, its HTML, values, ledgers, comparisons, the log."""
    with inside(configs):
        model = nn.Sequential(nn.Linear(2, 2))
        name = HOSTILE.replace(".", "")
        model.add_module(name, nn.Linear(2, 2))
        rules = [dict(type="Constant", val=1, layer="Linear"), dict(type="Pretrained", checkpoint="evil.pth")]
        plan = initcfg.plan(model, rules[:1])
        loaded = initcfg.plan(nn.Linear(2, 2), rules[1])
        ledger = initcfg.init_weights(model, rules[:1], seed=0)
        read = initcfg.Plan.from_json(json.loads((configs / "evil.json").read_text()))
    texts = [str(plan), plan.explain(f"{name}.weight"), plan._repr_html_(), str(ledger), str(loaded)]
    texts += [repr(plan[f"{name}.weight"]), *(str(item.value) for item in loaded.values()), str(read)]
    texts += [read.explain(HOSTILE), read._repr_html_(), loaded._repr_html_()]
    for text in texts:
        assert is_safe(text), repr(text)
        assert no_forged_line(text), text


def test_the_log(configs: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(2, 2)
    rule = dict(type="Pretrained", checkpoint="deep.pth", prefix=HOSTILE)
    with inside(configs), caplog.at_level(logging.DEBUG), contextlib.suppress(initcfg.errors.InitcfgError):
        initcfg.init_weights(model, [rule], seed=0)
    assert is_safe(caplog.text.rstrip("\n"))

"""The command diagnose: what it finds and prints, how it ends, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_models import refused, run

import initcfg

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)

def loud() -> nn.Module:
    net = Net()
    nn.init.normal_(net.head.weight, std=30.0)
    return net

def broken() -> nn.Module:
    net = Net()
    net.head.weight.data.fill_(float("nan"))
    return net

def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 16, generator=generator), torch.arange(32) % 4

def no_batch():
    raise KeyError("no batch")

def wrong_batch():
    return torch.zeros(3, 5)

def loss(output, targets):
    return (output.logsumexp(-1) - output[:, 0]).mean() + 0 * targets.sum()

def no_loss(model, batch):
    return model(batch[0])
"""
CONFIG = """
model = dict(
    type="diagnosed_nets:Net",
    init_cfg=[
        dict(type="Kaiming", layer="Linear"),
        dict(type="Normal", name="head", std=30.0),
    ],
)
"""
GIVEN = ("--batch", "diagnosed_nets.py:batch", "--lr", "1e-3")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "diagnosed_nets.py").write_text(CODE)
    (tmp_path / "config.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_finding_names_its_rule() -> None:
    done = run("diagnose", "config.py", *GIVEN)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("1 warning: the loss starts at ")
    assert "the batch given (32×16 float32, with targets)" in done.stdout
    assert "8 steps of adamw at lr 0.001" in done.stdout and "(assumed)" not in done.stdout
    assert "warning  initial-loss  head" in lines
    assert "  from    head.weight = Normal(mean=0, std=30), by model.init_cfg[1]" in done.stdout
    assert "(config.py:6)" in done.stdout
    assert "  mend    append to init_cfg: dict(type='Normal', std=" in done.stdout
    assert max(map(len, lines)) <= 80


def test_what_it_says_mends() -> None:
    done = run("diagnose", "config.py", *GIVEN, "--json")
    (finding,) = (each for each in json.loads(done.stdout)["findings"] if each["level"] == "warning")
    assert (finding["code"], finding["rule"], finding["source"]) == (
        "initial-loss",
        "model.init_cfg[1]",
        "config.py:6",
    )
    mended = CONFIG.replace("    ],", f"        {finding['mend']!r},\n    ],")
    Path("mended.py").write_text(mended)
    again = run("diagnose", "mended.py", *GIVEN, "--strict")
    assert again.exit_code == 0, again.stdout
    assert again.stdout.startswith("Nothing wrong: the loss starts at 1.")


@pytest.mark.parametrize(
    ("target", "options", "code"),
    [
        ("diagnosed_nets:Net", (), 0),
        ("diagnosed_nets:Net", ("--strict",), 0),
        ("diagnosed_nets:loud", (), 0),
        ("diagnosed_nets:loud", ("--strict",), 1),
        ("diagnosed_nets:broken", (), 1),
    ],
)
def test_how_it_ends(target: str, options: tuple[str, ...], code: int) -> None:
    done = run("diagnose", target, *GIVEN, *options)
    assert done.exit_code == code, done.output


def test_code_is_named_with_its_line() -> None:
    done = run("diagnose", "diagnosed_nets:loud", *GIVEN, "--json")
    found = initcfg.Diagnosis.from_json(json.loads(done.stdout))
    (finding,) = found.warnings
    line = 1 + CODE.splitlines().index("    nn.init.normal_(net.head.weight, std=30.0)")
    assert finding.source is not None and finding.source.endswith(f"diagnosed_nets.py:{line}")
    assert (finding.rule, finding.value) == ("loud", "Normal(mean=0, std=30)")


def test_without_a_batch_it_says_so() -> None:
    done = run("diagnose", "config.py", "--steps", "0")
    told = " ".join(done.stdout.split())
    assert "a synthetic batch (64×16 float32), not your data; loss: cross entropy" in told
    assert "; lr 0.001 (assumed); float32" in told


def test_seed_and_loss() -> None:
    def loss_of(*options: str) -> float:
        return json.loads(run("diagnose", "config.py", *GIVEN, *options, "--json").stdout)["measures"][
            "numbers"
        ]["loss"]

    assert loss_of() == loss_of("--seed", "0") != loss_of("--seed", "1")
    assert loss_of("--loss", "diagnosed_nets.py:loss") != loss_of()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_report(lang: str, tmp_path: Path) -> None:
    done = run("diagnose", "config.py", *GIVEN, "--html", "report.html", "--lang", lang)
    assert done.stdout.splitlines()[-1] == "report.html"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "model.init_cfg[1]" in text and f'lang="{lang}' in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing.py",), "nothing.py"),
        (("config.py", "--batch", "data"), "--batch is 'file.py:function', not 'data'."),
        (("config.py", "--batch", "no.py:batch"), "There is no file 'no.py'"),
        (("config.py", "--batch", "diagnosed_nets.py:nobody"), "has no function 'nobody'"),
        (("config.py", "--batch", "diagnosed_nets.py:no_batch"), "KeyError: 'no batch'"),
        (("config.py", "--batch", "diagnosed_nets.py:wrong_batch"), "The model failed on the batch"),
        (("config.py", *GIVEN, "--loss", "diagnosed_nets.py:no_loss"), "should be one number"),
        (("config.py", "--lr", "0"), "--lr is a positive number, not 0.0."),
        (("config.py", "--lr", "nan"), "--lr is a positive number, not nan."),
        (("config.py", "--steps", "-1"), "--steps"),
        (("config.py", "--html", "report.txt"), "report.txt"),
        (("config.py", "--html", "nowhere/report.html"), "nowhere"),
        (("hf:GPT2Model", "--untrusted", *GIVEN), "--batch names code, which goes not with --untrusted."),
        (("diagnosed_nets:Net", "--untrusted"), "neither is trusted"),
        (("diagnosed_nets:Net", "--no-python"), "running code was refused"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], told: str) -> None:
    assert told in refused("diagnose", *arguments)


def test_one_against_itself_is_noise() -> None:
    target = "diagnosed_nets:loud"
    done = run("diagnose", target, "--against", target, "--lr", "1e-3")
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert words.startswith(f"noise: after 8 steps at lr 0.001, 5 seeds each, {target} has the loss ")
    assert words.count(f" {target}: 1 warning: ") == 2
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_better_is_named() -> None:
    options = ("--against", "diagnosed_nets:loud", *GIVEN, "--seeds", "6")
    found = json.loads(run("diagnose", "diagnosed_nets:Net", *options, "--json").stdout)
    assert found["verdict"] == "here" and found["chance"] == pytest.approx(2 / 924)
    assert found["names"] == ["diagnosed_nets:Net", "diagnosed_nets:loud"]
    assert run("diagnose", "diagnosed_nets:Net", *options, "--strict").exit_code == 1


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_two_on_one_page(tmp_path: Path, lang: str) -> None:
    options = (
        "--against",
        "diagnosed_nets:loud",
        *GIVEN,
        "--steps",
        "2",
        "--html",
        "page.html",
        "--lang",
        lang,
    )
    done = run("diagnose", "diagnosed_nets:Net", *options)
    assert done.exit_code == 0 and done.stdout.rstrip().endswith("page.html"), done.output
    text = Path("page.html").read_text(encoding="utf-8")
    assert "initial-loss" in text and "diagnosed_nets:loud" in text
    assert "nowhere" in refused("diagnose", "diagnosed_nets:Net", *options[:2], "--html", "nowhere/page.html")

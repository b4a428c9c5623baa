"""The sentences of SECURITY.md about configs: each of them, with what would break it."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from torch import nn

import initcfg
from initcfg import MODELS, Config, build
from initcfg._api import functions
from initcfg._api.command.cli import main
from initcfg.errors import ConfigError, InitcfgError, PythonRefusedError, UntrustedError

PAGE = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
LAYER = "type: Linear, in_features: 2, out_features: 2"
told: list[str] = []


def says(*sentences: str) -> Callable[[Any], Any]:
    """What the test is about, as the page says it."""
    told.extend(" ".join(each.split()) for each in sentences)
    return lambda test: test


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(text: str, name: str = "config.yaml", **options: Any) -> str:
    Path(name).write_text(text)
    with pytest.raises(UntrustedError) as caught:
        build(name, untrusted=True, **options)
    done = CliRunner().invoke(main, ["plan", name, "--untrusted"])
    assert done.exit_code == 2 and caught.value.problem.split()[0] in done.stderr
    assert "Traceback" not in done.stderr
    return str(caught.value)


@says("No tag of YAML makes a Python object, and no key that occurs twice is passed over in silence.")
@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [echo]",
        "a: !!python/name:os.system",
        "a: 1\na: 2",
        "a: {b: 1, b: 2}",
    ],
)
def test_yaml_is_data(text: str):
    with pytest.raises(ConfigError, match=r"could not determine a constructor|occurs twice"):
        Config.fromstring(text, ".yaml")


@says(
    "A `type` is checked before it is called: of a model, it is a registered name, a class of `nn.Module`, "
    "or a function that is annotated to return one; of a rule, an initializer, or a function that is "
    "annotated to take a `torch.Tensor` and to return one."
)
def test_types_are_checked_in_every_file_of_data(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("not_annotated.py").write_text("def fill(tensor):\n    open('called', 'w')\n    return tensor\n")
    in_rules = [f"{{{LAYER}, init_cfg: {{type: {name}}}}}" for name in ("os.system", "not_annotated.fill")]
    for model in ("{type: os.system, command: touch called}", *in_rules):
        Path("config.yaml").write_text(f"model: {model}")
        with pytest.raises(InitcfgError, match=r"stands in a config file|no initializer"):
            build("config.yaml")
    assert not Path("called").exists()


@says("Only regular files of at most 16 MiB are opened, as a config or as a base of one.")
def test_what_is_opened():
    os.mkfifo("pipe.yaml")
    Path("large.yaml").write_bytes(b"#" * (16 * 2**20 + 1))
    for name, said in (("pipe.yaml", "a named pipe"), ("large.yaml", "16 MiB"), ("/dev/zero", "a device")):
        Path("child.yaml").write_text(f"_base_: {name}")
        for path in (name, "child.yaml"):
            with pytest.raises(ConfigError, match=f"cannot be read: .*{said}"):
                Config.fromfile(path)


@says("A config has at most 100 levels and 1,000,000 values, each alias counted, and at most 1,000 bases.")
def test_limits():
    deep = "a: " + "[" * 101 + "]" * 101
    bomb = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
    for text, said in ((deep, "100 levels"), (bomb, "1,000,000 values")):
        with pytest.raises(ConfigError, match=said):
            Config.fromstring(text, ".yaml")
    for level in range(12):
        Path(f"b{level}.yaml").write_text(f"_base_: [b{level + 1}.yaml, b{level + 1}.yaml]")
    Path("b12.yaml").write_text("")
    with pytest.raises(ConfigError, match="1,000 bases"):
        Config.fromfile("b0.yaml")


@says(
    "The time that reading takes grows with the size of the text, and no faster. A regular expression is "
    "refused before it takes more than some seconds."
)
def test_time():
    start = time.perf_counter()
    for text in ("# {{$a:" + " " * 100_000, "# " + "{{$a:" * 20_000):
        assert not Config.fromstring(text, ".yaml")
    assert time.perf_counter() - start < 5


@says("It is data: a Python config, or a Python base, is refused.")
def test_no_python():
    Path("base.py").write_text("open('called', 'w')\nmodel = dict(type='Identity')")
    Path("child.yaml").write_text("_base_: base.py")
    for name in ("base.py", "child.yaml"):
        with pytest.raises(PythonRefusedError):
            build(name, untrusted=True)
        assert CliRunner().invoke(main, ["plan", name, "--untrusted"]).exit_code == 2
    assert not Path("called").exists()


@says("Its bases lie in its own folder or below.")
def test_bases(folder: Path):
    inside = folder / "inside"
    (inside / "below").mkdir(parents=True)
    (folder / "secret.yaml").write_text("token: abc")
    (inside / "below" / "base.yaml").write_text("model: {type: Identity}")
    (inside / "link.yaml").symlink_to(folder / "secret.yaml")
    for base in ("../secret.yaml", str(folder / "secret.yaml"), "link.yaml", "~/x.yaml", "json::x.yaml"):
        assert "base" in refused(f"_base_: {base}", "inside/config.yaml") or "package" in refused(
            f"_base_: {base}", "inside/config.yaml"
        )
    (inside / "config.yaml").write_text("_base_: below/base.yaml")
    assert isinstance(build(inside / "config.yaml", untrusted=True), nn.Identity)


@says("It imports no module, and learns no environment variable.")
def test_imports_and_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "abc")
    Path("evil.py").write_text("open('called', 'w')")
    for asked in ("imports: [evil]", "custom_imports: {imports: [evil]}"):
        assert "import modules" in refused(f"model: {{type: Identity}}\n{asked}")
    for place in ("# {{$SECRET:}}", "a: '{{$SECRET:none}}'"):
        assert "abc" not in refused(f"model: {{type: Identity}}\n{place}")
    assert not Path("called").exists()


@says(
    "A `type` is a registered name, a class of `torch.nn`, or a model of timm, torchvision or transformers, "
    "without its weights."
)
def test_types():
    Path("evil.py").write_text("from torch import nn\nopen('called', 'w')\nclass Net(nn.Module): pass")
    for name in (
        "os.system",
        "evil.Net",
        "evil:Net",
        "torch.hub.load",
        "torch.jit.load",
        "torch.nn.Module.load_state_dict",
        "timm.create_model",
        "transformers.AutoModel.from_pretrained",
        "torchvision.models.resnet18",
        "hf:/etc/model",
        "hf:./model",
        "mmdet:retinanet/retinanet_r50_fpn_1x_coco",
    ):
        assert name in refused(f"model: {{type: '{name}'}}")
        assert name in refused(f"model: {{type: Sequential, a: [{{b: {{type: '{name}'}}}}]}}")
    assert not Path("called").exists()
    for name in ("Identity", "torch.nn.Identity"):
        Path("config.yaml").write_text(f"model: {{type: {name}}}")
        assert isinstance(build("config.yaml", untrusted=True), nn.Identity)
        assert isinstance(build(json.loads(f'{{"type": "{name}"}}'), untrusted=True), nn.Identity)
        assert isinstance(MODELS.build(Config.fromfile("config.yaml", untrusted=True).model), nn.Identity)
    with pytest.raises(UntrustedError):
        build(dict(type="evil.Net"), untrusted=True)
    with pytest.raises(UntrustedError):
        MODELS.build(Config(Config.fromstring("model: {type: evil.Net}", ".yaml", untrusted=True)).model)


@pytest.mark.parametrize("argument", ["attn_implementation: some/kernel", "use_pretrained_backbone: true"])
def test_what_a_library_might_fetch(argument: str):
    assert re.search("repository|weights", refused(f"model: {{type: 'hf:detr', {argument}}}"))


@says(
    "Nothing is imported from the folder that you work in, while it is read, built, planned and initialized."
)
def test_the_working_folder():
    for name in ("timm", "yaml", "tomllib", "torchvision"):
        Path(f"{name}.py").write_text("open('called', 'w')")
    Path("config.yaml").write_text("model: {type: 'timm:no_such_model_at_all'}")
    program = "import initcfg; initcfg.build('config.yaml', untrusted=True)"
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for command in (["-c", program], ["-m", "initcfg", "plan", "config.yaml", "--untrusted"]):
        done = subprocess.run(
            [sys.executable, *command], check=False, capture_output=True, text=True, env=environment
        )
        assert done.returncode != 0 and "timm" in done.stderr
    assert not Path("called").exists()


def test_the_working_folder_while_it_is_planned_and_initialized(monkeypatch: pytest.MonkeyPatch):
    """Rules and a model's own code import late; a folder that is searched then is the same fault."""
    Path("config.yaml").write_text(f"model: {{{LAYER}}}")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("late_module.py").write_text("open('called', 'w')")

    def importing(*_: Any, **__: Any) -> None:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("late_module")

    was = functions.located_plan

    def located(*args: Any, **options: Any) -> Any:
        importing()
        made = was(*args, **options)
        apply = type(made).apply
        monkeypatch.setattr(type(made), "apply", lambda *a, **o: (importing(), apply(*a, **o))[1])
        return made

    monkeypatch.setattr(functions, "located_plan", located)
    build("config.yaml", untrusted=True)
    for command in ("plan", "explain"):
        words = [command, "config.yaml", "--untrusted", *(["weight"] if command == "explain" else [])]
        assert CliRunner().invoke(main, words).exit_code == 0
    assert not Path("called").exists()


@says(
    "A checkpoint, or the base of an adapter, is a file in the config's folder or below: no address, and no "
    "other file."
)
def test_checkpoints(folder: Path):
    inside = folder / "inside"
    inside.mkdir()
    (inside / "link.pth").symlink_to("/etc/passwd")
    for checkpoint in (
        "https://example.org/a.pth",
        "file:///etc/passwd",
        "torchvision://resnet18",
        "hf://a/b",
        "/etc/passwd",
        "../weights.pth",
        "~/weights.pth",
        "inside/link.pth",
    ):
        load = f"{{type: Pretrained, name: x, checkpoint: '{checkpoint}'}}"
        for rule in (load, f"[{{type: Constant, val: 0, override: {load}}}]"):
            text = f"model: {{{LAYER}, init_cfg: {rule}}}"
            assert "not a file beside the config" in refused(text, "inside/config.yaml")
    for base in ("https://example.org/a.pth", "hf://a/b", "/etc/passwd", "../weights.pth"):
        adapt = f"{{type: merge_lora, base: '{base}'}}"
        rule = f"{{type: Pretrained, checkpoint: inside/own.pth, adapt: {adapt}}}"
        text = f"model: {{{LAYER}, init_cfg: {rule}}}"
        assert "not a file beside the config" in refused(text, "inside/config.yaml")
    layer = nn.Linear(2, 2)
    import torch

    torch.save(layer.state_dict(), inside / "own.pth")
    text = f"model: {{{LAYER}, init_cfg: {{type: Pretrained, checkpoint: inside/own.pth}}}}"
    (inside / "config.yaml").write_text(text)
    made: Any = build(inside / "config.yaml", untrusted=True)
    assert torch.equal(made.weight, layer.weight)


@says("Regular expressions are refused: `re:` patterns and `rename`.")
def test_regular_expressions():
    for rule in (
        "{type: Constant, val: 0, param: 're:(a+)+b'}",
        "{type: Pretrained, checkpoint: own.pth, rename: {'(a+)+b': c}}",
        "{type: Pretrained, checkpoint: own.pth, ignore: ['re:x']}",
    ):
        assert "regular expression" in refused(f"model: {{{LAYER}, init_cfg: {rule}}}")


@says(
    "No whole number is larger than 16,777,216, no model has more than 200,000 modules, and no weights are "
    "made in memory that this machine does not have."
)
def test_sizes():
    assert "larger than any number" in refused(
        "model: {type: Linear, in_features: 1000000000, out_features: 1}"
    )
    rule = "init_cfg: {type: MuP, base: {in_features: 100000000}}"
    assert "larger than any number" in refused(f"model: {{{LAYER}, {rule}}}")
    huge = dict(type="Linear", in_features=2**24, out_features=2**24)
    Path("config.json").write_text(json.dumps(dict(model=huge)))
    with pytest.raises(UntrustedError, match=r"this machine has|can't allocate memory"):
        build("config.json", untrusted=True)


def test_modules_are_counted(monkeypatch: pytest.MonkeyPatch):
    from initcfg._api import untrusted

    monkeypatch.setattr(untrusted, "_MOST_MODULES", 5)
    text = "model: {type: Transformer, d_model: 4, nhead: 1, num_encoder_layers: 3}"
    assert "more than 5 modules" in refused(text)
    base = "init_cfg: {type: MuP, base: {num_encoder_layers: 99}}"
    text = f"model: {{type: Transformer, d_model: 4, nhead: 2, batch_first: true, {base}}}"
    monkeypatch.setattr(untrusted, "_MOST_MODULES", 100)
    assert "more than 100 modules" in refused(text)


@says("What its model raises while it is built is one error, without a traceback on the command line.")
def test_what_a_class_raises():
    assert "cannot be built" in refused(
        "model: {type: Conv2d, in_channels: 3, out_channels: 2, kernel_size: x}"
    )
    assert "cannot be built" in refused("model: {type: BatchNorm2d, num_features: -1}")


@says(
    "What you give yourself is your own word, and is not checked: a value of `--set`, and the config's name."
)
def test_ones_own_word(folder: Path):
    import torch

    layer = nn.Linear(2, 2)
    (folder / "elsewhere").mkdir()
    (folder / "inside").mkdir()
    torch.save(layer.state_dict(), "elsewhere/own.pth")
    text = f"model: {{{LAYER}, init_cfg: {{type: Pretrained, checkpoint: x.pth}}}}"
    (folder / "inside" / "config.yaml").write_text(text)
    done = CliRunner().invoke(
        main,
        ["plan", "inside/config.yaml", "--untrusted", "--set", "model.init_cfg.checkpoint=elsewhere/own.pth"],
    )
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("command", ["plan", "init", "explain", "trace", "diff", "verify"])
def test_each_command_has_the_option_and_says_what_no_python_is(command: str):
    text = " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())
    assert "--untrusted" in text
    assert "is still imported, called and opened" in text


def test_each_sentence_has_its_test():
    part = PAGE[PAGE.index("### Configs") : PAGE.index("Two things are not a vulnerability")]
    listed = [" ".join(each.split()) for each in re.findall(r"^- (.*(?:\n  .*)*)", part, re.MULTILINE)]
    listed.append(next(each for each in part.split("\n\n") if each.startswith("What you give yourself")))
    assert sorted(told) == sorted(listed)
    assert initcfg.errors.UntrustedError.__mro__[1] is ConfigError

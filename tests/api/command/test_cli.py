"""The command: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

import initcfg
from initcfg._api.command.cli import main

ROOT = Path(__file__).parents[3]
RETINANET = str(ROOT / "examples/retinanet/retinanet_r18_fpn.py")

MODELS = """
import torch
from torch import nn
import initcfg

@initcfg.MODELS.register_module()
class Small(initcfg.BaseModule):
    def __init__(self, width=4, layer="Linear", init_cfg=None):
        super().__init__(init_cfg or dict(type="Normal", std=0.02, layer=layer))
        self.embed = nn.Embedding(8, width)
        self.first = nn.Linear(width, width)
        self.head = nn.Linear(width, 8, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(width)

@initcfg.MODELS.register_module()
class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise ZeroDivisionError("no such thing")

@initcfg.MODELS.register_module()
class Unwritten(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.empty(3, 3))

@initcfg.MODELS.register_module()
class Own(Small):
    def init_weights(self):
        super().init_weights()
        nn.init.zeros_(self.first.bias)
        if self.first.in_features == 5:
            raise RuntimeError("five")
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small_models.py").write_text(MODELS)
    (tmp_path / "small.py").write_text("imports = ['small_models']\nmodel = dict(type='Small')\n")
    (tmp_path / "small.yaml").write_text("imports: [small_models]\nmodel: {type: Small}\n")
    return tmp_path


@contextlib.contextmanager
def _inside(folder: Path):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(*arguments: str, cwd: Path | None = None):
    """The command, in this process: importing torch anew each time would take minutes."""
    with _inside(cwd) if cwd else contextlib.nullcontext():
        return CliRunner().invoke(main, list(arguments), prog_name="initcfg")


def run_apart(*arguments: str, cwd: Path | None = None, **options):
    """The command, in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "initcfg", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=cwd, env=environment(), **options
    )


def refused(folder: Path, *arguments: str, **options) -> str:
    before = sorted(folder.iterdir())
    done = run_apart(*arguments, cwd=folder, **options) if options else run(*arguments, cwd=folder)
    code = done.returncode if options else done.exit_code
    assert code == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(("error: ", "Usage: "))
    assert "Traceback" not in done.stderr
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == before
    return done.stderr


def test_plan_of_a_real_detector():
    done = run("plan", RETINANET)
    assert done.exit_code == 0, done.stderr
    assert "backbone.layer{1..4}.{0,1}.conv{1,2}.weight" in done.stdout
    assert "96 parameters, 21,410,100 elements" in done.stdout
    full = run("plan", RETINANET, "--full")
    assert "backbone.layer3.1.bn2.weight" in full.stdout
    assert len(full.stdout.splitlines()) > 96


def test_plan_as_json_is_a_plan():
    done = run("plan", RETINANET, "--json")
    data = json.loads(done.stdout)
    assert data["format"] == "initcfg-plan"
    plan = initcfg.Plan.from_json(data)
    assert plan["bbox_head.retina_cls.bias"].value.args["val"] == initcfg.bias_init_with_prob(0.01)
    entry = data["parameters"]["backbone.conv1.weight"]
    assert entry["shape"] == [64, 3, 7, 7]
    assert entry["value"] == {"kind": "Normal", "mean": 0.0, "std": 2**0.5 / (64 * 49) ** 0.5}
    assert entry["initializer"]["type"] == "Kaiming"
    assert entry["rule"] == "model.backbone.init_cfg[0]"


def test_init_writes_weights_and_ledger(folder):
    done = run("init", "small.py", "-o", "w.safetensors", "--seed", "7", cwd=folder)
    assert done.exit_code == 0, done.stderr
    assert sorted(path.suffix for path in folder.glob("w.*")) == [".json", ".safetensors"]
    tensors = load_file(folder / "w.safetensors")
    assert "norm.running_mean" in tensors
    ledger = initcfg.Ledger.load(folder / "w.ledger.json")
    inside = initcfg.Ledger.load(folder / "w.safetensors")
    assert ledger == inside
    assert ledger.seed == 7
    assert ledger["head.weight"] is ledger["embed.weight"]
    assert ledger["norm.weight"].by == "default"

    again = run("init", "small.yaml", "-o", "x.safetensors", "--seed", "7", "--json", cwd=folder)
    assert json.loads(again.stdout)["seed"] == 7
    other = load_file(folder / "x.safetensors")
    assert all(torch.equal(tensors[name], other[name]) for name in tensors)

    sys.path.insert(0, str(folder))
    try:
        model = initcfg.build(folder / "small.py", seed=7)
    finally:
        sys.path.remove(str(folder))
    from safetensors.torch import load_model

    reference = {name: item.clone() for name, item in model.state_dict().items()}
    load_model(model, folder / "w.safetensors")
    assert all(torch.equal(reference[name], item) for name, item in model.state_dict().items())


def test_pth_bytes_depend_on_the_seed_alone(folder):
    for name in ("a.pth", "b.pth"):
        assert run("init", "small.py", "-o", name, "--seed", "1", cwd=folder).exit_code == 0
    assert (folder / "a.pth").read_bytes() == (folder / "b.pth").read_bytes()


def test_explain():
    done = run("explain", RETINANET, "backbone.layer1.0.bn2.weight")
    assert "1. model.backbone.init_cfg[1] (resnet.py:" in done.stdout
    assert "overridden: a child's init_cfg beats its parents'" in done.stdout
    assert "2. model.backbone.layer1.0.init_cfg.override" in done.stdout
    assert "wins" in done.stdout
    done = run("explain", RETINANET, "backbone.conv1.weight")
    assert "fan_in 147, fan_out 3136" in done.stdout
    data = json.loads(run("explain", RETINANET, "backbone.conv1.weight", "--json").stdout)
    assert data["rules"]["model.backbone.init_cfg[0]"]["written"].startswith("resnet.py:")


def test_rule_in_the_config_says_its_line(folder):
    (folder / "lines.py").write_text(
        "imports = ['small_models']\nmodel = dict(\n    type='Small',\n"
        "    init_cfg=dict(type='Constant', val=1, layer='Linear'))\n"
    )
    done = run("explain", "lines.py", "first.bias", cwd=folder)
    assert "model.init_cfg (lines.py:4)" in done.stdout


def test_set_changes_the_config(folder):
    data = json.loads(run("plan", "small.py", "--set", "model.width=6", "--json", cwd=folder).stdout)
    assert data["parameters"]["first.weight"]["shape"] == [6, 6]


def test_list():
    assert "Kaiming" in run("list").stdout
    assert "fan_out" in run("list").stdout
    names = [
        entry["name"] for entry in json.loads(run("list", "layers", "--like", "deform", "--json").stdout)
    ]
    assert "DeformConv2d" in names


@pytest.mark.parametrize("command", ["plan", "init", "explain", "trace", "diff", "list"])
def test_help_has_an_example(command):
    done = run(command, "--help")
    assert "Example:" in done.stdout
    assert f"initcfg {command}" in done.stdout


def test_a_process_of_its_own(folder):
    done = run_apart("plan", "small.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "first.weight" in done.stdout
    assert done.stderr == ""


def test_help_and_import_do_not_load_torch():
    code = "import sys, initcfg, initcfg._api.command.cli\n"
    code += "assert not {'torch', 'numpy', 'rich'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment()).returncode == 0


# -- refusals ------------------------------------------------------------------------------------


def test_missing_and_broken_configs(folder):
    assert "small.py" in refused(folder, "plan", "smal.py")
    (folder / "broken.py").write_text("model = dict(\n    type=\n)\n")
    assert "broken.py" in refused(folder, "plan", "broken.py")
    (folder / "raises.py").write_text("x = 1\ny = 1 / 0\n")
    message = refused(folder, "init", "raises.py", "-o", "w.safetensors")
    assert "raises.py:2" in message
    (folder / "none.yaml").write_text("optimizer: {type: SGD}\n")
    assert "no model" in refused(folder, "plan", "none.yaml")
    assert "small.py" in refused(folder, "plan", "small.py", "--no-python")


def test_unknown_types_and_arguments(folder):
    message = refused(folder, "plan", "small.py", "--set", "model.type=Smal")
    assert "'Small'" in message
    message = refused(folder, "plan", "small.py", "--set", "model.witdh=3")
    assert "'width'" in message
    assert "no such thing" in refused(folder, "plan", "small.py", "--set", "model.type=Broken")


def test_typo_in_layer(folder):
    message = refused(folder, "init", "small.py", "-o", "w.safetensors", "--set", "model.layer=Lineer")
    assert "layer='Lineer' names no module class" in message
    assert "'Linear'" in message
    assert "model.init_cfg" in message


def test_strict(folder):
    message = refused(folder, "plan", "small.py", "--strict", "--set", "model.layer=Conv2d")
    assert "no Conv2d" in message
    plan = run("plan", "small.py", "--set", "model={'type': 'Unwritten', '_delete_': True}", cwd=folder)
    assert "never written  table" in plan.stdout
    (folder / "unwritten.py").write_text("imports = ['small_models']\nmodel = dict(type='Unwritten')\n")
    assert "table" in refused(folder, "plan", "unwritten.py", "--strict")


def test_unknown_parameter(folder):
    assert "first.weight" in refused(folder, "explain", "small.py", "first.wieght")


def test_outputs_that_cannot_be_written(folder):
    assert "does not exist" in refused(folder, "init", "small.py", "-o", "no/w.safetensors")
    assert "ends in none of" in refused(folder, "init", "small.py", "-o", "w.safetensor")
    (folder / "taken.safetensors").mkdir()
    assert "is a folder" in refused(folder, "init", "small.py", "-o", "taken.safetensors")


def test_no_permission(folder):
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    if os.access(closed, os.W_OK):
        # The superuser may write everywhere but in the kernel's own file systems.
        closed = Path("/proc")
    message = refused(folder, "init", "small.py", "-o", str(closed / "w.safetensors"))
    assert "permission" in message.lower() or "cannot be written" in message


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_full_disk(folder, name):
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = ["init", "small.py", "-o", name, "--set", "model.width=200"]
    message = refused(folder, *arguments, preexec_fn=small_files)
    assert "cannot be written" in message
    (folder / name).write_text("old")
    refused(folder, *arguments, preexec_fn=small_files)
    assert (folder / name).read_text() == "old"


def test_missing_checkpoint_is_seen_in_the_plan_and_refused_by_init(folder):
    setting = "model.init_cfg=dict(type=Pretrained,checkpoint='nothing.pth')"
    plan = run("plan", "small.py", "--set", setting, cwd=folder)
    assert plan.exit_code == 0, plan.stderr
    assert "There is no checkpoint 'nothing.pth'" in plan.stdout
    assert "nothing.pth" in refused(folder, "init", "small.py", "-o", "w.safetensors", "--set", setting)


def test_failing_user_code_leaves_no_file(folder):
    (folder / "own.py").write_text("imports = ['small_models']\nmodel = dict(type='Own', width=5)\n")
    message = refused(folder, "init", "own.py", "-o", "w.safetensors")
    assert "Own.init_weights" in message
    assert "RuntimeError: five" in message


def test_python_m_is_the_command():
    words = [sys.executable, "-m", "initcfg", "--version"]
    assert initcfg.__version__ in subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_without_a_seed_the_command_draws_one_that_makes_the_file_again(tmp_path):
    (tmp_path / "kept.yaml").write_text("model: {type: Linear, in_features: 3, out_features: 3}\n")
    run = CliRunner().invoke
    first, second, again = (str(tmp_path / f"{name}.pth") for name in ("a", "b", "c"))
    config = str(tmp_path / "kept.yaml")
    for output in (first, second):
        assert run(main, ["init", config, "-o", output]).exit_code == 0
    seeds = [initcfg.Ledger.load(path.replace(".pth", ".ledger.json")).seed for path in (first, second)]
    assert seeds[0] != seeds[1]
    assert run(main, ["init", config, "-o", again, "--seed", str(seeds[0])]).exit_code == 0
    with open(first, "rb") as a, open(again, "rb") as b:
        assert a.read() == b.read()


def test_set_into_a_key_that_is_not_there(tmp_path):
    (tmp_path / "a.yaml").write_text("model: {type: Linear, in_features: 3, out_features: 3}\n")
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "a.yaml"), "--set", "modle.bias=False"])
    assert done.exit_code == 2
    assert "'model'" in done.stderr


def test_interrupted(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import signal, sys, time\n"
        # A shell without job control has its background processes ignore SIGINT, and they their children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('ready', file=sys.stderr, flush=True)\ntime.sleep(60)\nmodel = 1\n"
    )
    command = [sys.executable, "-m", "initcfg", "init", "slow.py", "-o", "w.pth"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted; no file was left half-written." in message
    assert [path.name for path in tmp_path.iterdir()] == ["slow.py"]


def test_interrupted_when_all_is_written(tmp_path):
    # What was registered before runs after: this is late in the end of Python.
    (tmp_path / "late.py").write_text(
        "import atexit, os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def late():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.2)\n    print('alive')\n"
        "atexit.register(late)\n"
        "from initcfg._api.command import main\nmain(['list', 'initializers'])\n"
    )
    command = [sys.executable, "late.py"]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "env": environment()}
    done = subprocess.run(command, check=False, **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("alive\n")


def test_safetensors_bytes_depend_on_the_seed_alone(folder):
    # The library's own order of the metadata is another one each time.
    for at in range(6):
        assert run("init", "small.py", "-o", f"{at}.safetensors", "--seed", "1", cwd=folder).exit_code == 0
    assert len({(folder / f"{at}.safetensors").read_bytes() for at in range(6)}) == 1
    with safe_open(folder / "0.safetensors", "pt") as file:
        assert {"format", "initcfg.ledger", "head.weight"} == set(file.metadata())


def test_modules_are_found_beside_the_config_from_any_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/beside_it.py").write_text(
        "from torch.nn import Linear\nclass Net(Linear):\n    def __init__(self): super().__init__(3, 2)\n"
    )
    (tmp_path / "a/text.yaml").write_text("model: {type: beside_it.Net}\n")
    (tmp_path / "a/colon.json").write_text('{"model": {"type": "beside_it:Net"}}\n')
    (tmp_path / "a/code.py").write_text("from beside_it import Net\nmodel = dict(type=Net)\n")
    for name in ("text.yaml", "colon.json", "code.py"):
        done = run_apart("plan", f"../a/{name}", cwd=tmp_path / "b")
        assert (done.returncode, "2 parameters, 8 elements" in done.stdout) == (0, True), done.stderr

"""Lightning's callback that initializes: in fits, in two processes, and from the YAML of its command line."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import ArgumentValueError, PlanError

missing = importlib.util.find_spec("lightning") is None
pytestmark = [
    pytest.mark.peers,
    pytest.mark.lightning,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(missing, reason="lightning is not installed"),
]
RULES = [dict(type="Normal", layer="Linear", std=0.02, bias=0.5)]


@pytest.fixture(autouse=True)
def in_a_folder(stand_ins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def layers(width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def expected(seed: int = 0, rules: Any = RULES) -> dict[str, torch.Tensor]:
    model = layers()
    initcfg.init_weights(model, rules, seed=seed)
    return model.state_dict()


def lightning() -> Any:
    return importlib.import_module("lightning.pytorch")


def module(**methods: Any) -> Any:
    class Net(lightning().LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = layers()

        def training_step(self, batch: Any, index: int) -> Any:
            if not hasattr(self, "first"):
                self.first = {name: each.clone() for name, each in self.net.state_dict().items()}
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return type("Net", (Net,), methods)()


def data() -> Any:
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=4)


def trainer(*callbacks: Any, **options: Any) -> Any:
    given = {"logger": False, "max_steps": 2, "enable_checkpointing": False, **options}
    return lightning().Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **given,
    )


def same(first: Any, second: Any, *, but: str = "num_batches_tracked") -> bool:
    names = [name for name in second if but not in name and "running" not in name]
    return all(torch.equal(first[name], second[name]) for name in names)


def test_a_fit_begins_with_the_weights_of_the_rules(tmp_path: Path) -> None:
    from initcfg.integrations.lightning import InitCallback

    net, callback = module(), InitCallback(RULES, part="net", seed=0)
    trainer(callback).fit(net, data())
    # Names of its own: the weights are those that the part gets alone.
    assert same(net.first, expected())
    assert initcfg.Ledger.load(tmp_path / "init_ledger.json").to_json() == callback.ledger.to_json()
    plan = initcfg.Plan.from_json(json.loads((tmp_path / "init_plan.json").read_text()))
    assert plan == callback.plan and str(plan["0.weight"].value) == "Normal(mean=0, std=0.02)"


def test_the_whole_module_and_the_seed_that_was_set(tmp_path: Path) -> None:
    from initcfg.integrations.lightning import InitCallback

    nets = []
    for _ in range(2):
        net, callback = module(), InitCallback(RULES, folder="kept")
        lightning().seed_everything(3)
        trainer(callback).fit(net, data())
        nets.append(net)
    assert same(nets[0].first, nets[1].first)
    assert callback.ledger["net.0.bias"].rule == "init_cfg[0]"
    assert (tmp_path / "kept" / "init_plan.json").is_file()


def test_a_second_fit_and_a_resumed_one_are_left_alone(tmp_path: Path) -> None:
    from initcfg.integrations.lightning import InitCallback

    net, callback = module(), InitCallback(RULES, part="net", seed=0)
    first = trainer(callback)
    first.fit(net, data())
    first.save_checkpoint("at_2.ckpt")
    trained = {name: each.clone() for name, each in net.net.state_dict().items()}
    del net.first
    trainer(callback).fit(net, data())
    assert same(net.first, trained) and not same(trained, expected())

    resumed, other = module(), InitCallback(RULES, part="net", seed=1, folder="resumed")
    trainer(other, max_steps=4).fit(resumed, data(), ckpt_path="at_2.ckpt")
    assert same(resumed.first, trained)
    assert other.ledger is None and other.plan is None and not (tmp_path / "resumed").exists()


def test_layers_that_come_late_are_initialized_too() -> None:
    from initcfg.integrations.lightning import InitCallback

    def setup(self: Any, stage: str) -> None:
        self.net = layers()

    def configure_model(self: Any) -> None:
        self.net = layers()

    for late in (setup, configure_model):
        net = module(**{late.__name__: late})
        trainer(InitCallback(RULES, part="net", seed=0)).fit(net, data())
        assert same(net.first, expected()), late.__name__


def test_a_copy_that_a_callback_makes_has_the_weights() -> None:
    from initcfg.integrations.lightning import InitCallback

    averaging = importlib.import_module("lightning.pytorch.callbacks").WeightAveraging()
    net = module()
    trainer(InitCallback(RULES, part="net", seed=0), averaging, max_steps=1).fit(net, data())
    # After one step the average is that step's weights, and these began from the rules'.
    assert same(net.first, expected())


def test_a_plan_in_a_file(tmp_path: Path) -> None:
    from initcfg.integrations.lightning import InitCallback

    plan = initcfg.plan(layers(), RULES)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    net = module()
    trainer(InitCallback(plan="plan.json", part="net", seed=0)).fit(net, data())
    assert same(net.first, expected())
    with pytest.raises(ArgumentValueError, match="A plan and rules"):
        InitCallback(RULES, plan=plan)
    with pytest.raises(PlanError, match=r"There is no plan 'plam\.json'"):
        InitCallback(plan="plam.json")
    with pytest.raises(ArgumentValueError, match="no submodule 'body'"):
        trainer(InitCallback(RULES, part="body")).fit(module(), data())


@pytest.mark.skipif(importlib.util.find_spec("jsonargparse") is None, reason="jsonargparse is not installed")
def test_yaml_of_the_command_line(tmp_path: Path) -> None:
    from initcfg.integrations.lightning import InitCallback

    cli = importlib.import_module("lightning.pytorch.cli")
    (tmp_path / "run.yaml").write_text(
        """
trainer:
  max_steps: 2
  accelerator: cpu
  logger: false
  enable_progress_bar: false
  enable_checkpointing: false
  callbacks:
    - class_path: initcfg.integrations.lightning.InitCallback
      init_args:
        init_cfg:
          - {type: Normal, layer: Linear, std: 0.02, bias: 0.5}
        part: net
        seed: 7
    - class_path: initcfg.integrations.lightning.DiagnoseCallback
      init_args:
        stop_on: error
"""
    )

    class Data(lightning().LightningDataModule):
        def train_dataloader(self) -> Any:
            return data()

    ran = cli.LightningCLI(type(module()), Data, args=["fit", "--config", "run.yaml"])
    (callback,) = (each for each in ran.trainer.callbacks if isinstance(each, InitCallback))
    assert same(ran.model.first, expected(seed=7)) and callback.ledger.seed == 7
    assert initcfg.Ledger.load(tmp_path / "init_ledger.json").seed == 7
    # What Lightning wrote down of the run says the rules, and gives the same again.
    assert "std: 0.02" in (tmp_path / "config.yaml").read_text()


# -- configure_model with FSDP2, in two processes ------------------------------------------------

SHARDED = """
    import sys, warnings
    warnings.simplefilter("ignore")
    sys.path.insert(0, {peers!r})
    import openmmlab_stand_ins
    openmmlab_stand_ins.install()
    import torch
    import initcfg
    import lightning.pytorch as pl
    from initcfg.integrations.lightning import InitCallback
    from lightning.pytorch.strategies import ModelParallelStrategy
    from torch import nn
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    RULES = [dict(type="Normal", layer="Linear", std=0.02, bias=0.5)]

    def layers():
        return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = None

        def configure_model(self):
            if self.net is not None:
                return
            with torch.device("meta"):
                net = layers()
            mesh = self.device_mesh["data_parallel"]
            for layer in net:
                fully_shard(layer, mesh=mesh)
            fully_shard(net, mesh=mesh)
            initcfg.materialize(net, RULES, seed=0)
            self.net = net

        def on_fit_start(self):
            alone = layers()
            initcfg.init_weights(alone, RULES, seed=0)
            wanted = alone.state_dict()
            for name, tensor in self.net.named_parameters():
                assert type(tensor.data).__name__ == "DTensor" or type(tensor).__name__ == "DTensor"
                assert torch.equal(tensor.full_tensor(), wanted[name]), name

        def training_step(self, batch, index):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    if __name__ == "__main__":
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 4)), batch_size=2)
        strategy = ModelParallelStrategy(
            data_parallel_size=2, tensor_parallel_size=1, process_group_backend="gloo"
        )
        trainer = pl.Trainer(
            max_steps=2, accelerator="cpu", devices=2, strategy=strategy, logger=False,
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            callbacks=[InitCallback(RULES, part="net", seed=0, folder="kept")],
        )
        trainer.fit(Net(), data)
        open(f"done_{{trainer.global_rank}}", "w").close()
"""


def test_configure_model_with_fsdp2_in_two_processes(tmp_path: Path) -> None:
    program = textwrap.dedent(SHARDED).format(peers=str(Path(__file__).parent))
    (tmp_path / "sharded.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "sharded.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "done_0").exists() and (tmp_path / "done_1").exists()
    assert initcfg.Ledger.load(tmp_path / "kept" / "init_ledger.json").seed == 0

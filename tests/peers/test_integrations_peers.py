"""Callbacks in real runs of Lightning and transformers: the run is the same, and stops if asked."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from initcfg.errors import DiagnosisError

pytestmark = [pytest.mark.peers, pytest.mark.hf, pytest.mark.lightning, pytest.mark.filterwarnings("ignore")]


def needs(*names: str) -> Any:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


@pytest.fixture(autouse=True)
def in_a_folder(stand_ins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


# -- Lightning -----------------------------------------------------------------------------------


def images() -> Any:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(32, 3, 8, 8, generator=generator)
    return torch.utils.data.TensorDataset(pixels, torch.arange(32) % 10)


def lightning_module(std: float = 0.05, *, broken: bool = False) -> Any:
    lightning = importlib.import_module("lightning.pytorch")

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Dropout(0.1))
            self.head = nn.Linear(32, 10)
            nn.init.normal_(self.head.weight, std=std)
            if broken:
                self.head.weight.data[0, 0] = float("nan")
            self.logged: list[float] = []

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(pixels))

        def training_step(self, batch: Any, index: int) -> Any:
            # What only a module of a trainer has.
            assert self.trainer.max_steps == 3
            loss = functional.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss)
            return {"loss": loss}

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3)
            warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
            return [optimizer], [{"scheduler": warmup, "interval": "step"}]

    torch.manual_seed(0)
    return Net()


def fitted(module: Any, *callbacks: Any, **options: Any) -> Any:
    lightning = importlib.import_module("lightning.pytorch")
    given = {"logger": False, "accelerator": "cpu", "devices": 1, **options}
    trainer = lightning.Trainer(
        max_steps=3,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **given,
    )
    torch.manual_seed(1)
    trainer.fit(module, torch.utils.data.DataLoader(images(), batch_size=8, shuffle=True))
    return trainer


@needs("lightning")
def test_a_lightning_run_is_the_same() -> None:
    from initcfg.integrations.lightning import DiagnoseCallback

    alone, watched = lightning_module(), lightning_module()
    fitted(alone)
    callback = DiagnoseCallback()
    trainer = fitted(watched, callback)
    for (name, one), other in zip(alone.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    found = callback.diagnosis
    assert found is not None and not found.errors
    # The rate that the warm-up leads to, of the optimizer that the module configures.
    assert (found.lr, found.lr_given, found.optimizer, found.steps) == (2e-3, True, "adamw", 8)
    assert found.measures.numbers["loss"] == pytest.approx(2.3, abs=0.3)
    assert trainer.global_step == 3 and "loss" in trainer.callback_metrics
    assert "log" not in vars(watched)


@needs("lightning")
def test_lightning_stops() -> None:
    from initcfg.integrations.lightning import DiagnoseCallback

    callback = DiagnoseCallback(stop_on="error")
    with pytest.raises(DiagnosisError, match="stopped before its first step") as caught:
        fitted(lightning_module(broken=True), callback)
    assert "nonfinite-weight" in str(caught.value) and "head.weight" in str(caught.value)
    patient = DiagnoseCallback()
    fitted(lightning_module(broken=True), patient)
    assert patient.diagnosis is not None and patient.diagnosis.errors
    loud = lightning_module(std=20.0)
    fitted(loud, DiagnoseCallback(stop_on="error"))
    with pytest.raises(DiagnosisError, match="initial-loss"):
        fitted(loud, DiagnoseCallback(stop_on="warning"))


@needs("lightning")
def test_lightning_logs_and_reports(tmp_path: Path) -> None:
    from initcfg.integrations.lightning import DiagnoseCallback

    logger = importlib.import_module("lightning.pytorch.loggers").CSVLogger(str(tmp_path))
    fitted(
        lightning_module(), DiagnoseCallback(html=tmp_path / "r.html"), logger=logger, precision="bf16-mixed"
    )
    metrics = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "initcfg/loss" in metrics and "initcfg/warnings" in metrics
    assert (tmp_path / "r.html").stat().st_size > 1000


# -- transformers --------------------------------------------------------------------------------


def tiny_gpt(std: float = 0.02) -> Any:
    transformers = importlib.import_module("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=97, n_positions=32, initializer_range=std
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config)


class Sentences(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 32

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(97, (16,), generator=torch.Generator().manual_seed(place))
        return {"input_ids": ids, "labels": ids}


def trained(model: Any, *callbacks: Any, **options: Any) -> Any:
    transformers = importlib.import_module("transformers")
    arguments = transformers.TrainingArguments(
        output_dir="out",
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        warmup_steps=2,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
        **options,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=Sentences(), callbacks=list(callbacks))
    trainer.train()
    return trainer


@needs("transformers", "accelerate")
def test_a_trainers_run_is_the_same() -> None:
    from initcfg.integrations.transformers import DiagnoseCallback

    alone, watched = tiny_gpt(), tiny_gpt()
    trained(alone, gradient_accumulation_steps=2)
    callback = DiagnoseCallback()
    trainer = trained(watched, callback, gradient_accumulation_steps=2)
    for (name, one), other in zip(alone.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    found = callback.diagnosis
    assert found is not None and not found.errors
    assert (found.lr, found.lr_given, found.optimizer) == (1e-3, True, "adamw")
    assert found.measures.numbers["loss"] == pytest.approx(4.57, abs=0.2)
    assert trainer.state.global_step == 3
    assert not watched._forward_pre_hooks


@needs("transformers", "accelerate")
@pytest.mark.parametrize("bf16", [False, True])
def test_a_trainer_stops(bf16: bool) -> None:
    from initcfg.integrations.transformers import DiagnoseCallback

    broken = tiny_gpt()
    broken.transformer.h[1].mlp.c_fc.weight.data[0, 0] = float("nan")
    callback = DiagnoseCallback(stop_on="error")
    with pytest.raises(DiagnosisError, match="nonfinite-weight"):
        trained(broken, callback, bf16=bf16)
    assert callback.diagnosis is not None
    with pytest.raises(DiagnosisError, match="initial-loss"):
        trained(tiny_gpt(std=1.0), DiagnoseCallback(stop_on="warning"), bf16=bf16)


@needs("transformers", "accelerate")
def test_a_loss_of_ones_own() -> None:
    from initcfg.integrations.transformers import DiagnoseCallback

    def loss(model: Any, batch: Any) -> torch.Tensor:
        return (
            model(**{name: item for name, item in batch.items() if name != "labels"}).logits.square().mean()
        )

    callback = DiagnoseCallback(loss)
    trained(tiny_gpt(), callback)
    assert callback.diagnosis is not None
    assert callback.diagnosis.measures.numbers["loss"] < 1

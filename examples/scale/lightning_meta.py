"""Lightning: ``configure_model`` builds without memory, shards, and lets initcfg.materialize do the rest.

    torchrun --nproc-per-node 4 examples/scale/lightning_meta.py

Needs lightning 2.6. Its ModelParallelStrategy gives memory only to what is left on the meta device, and calls
``reset_parameters`` there; here nothing is left. The digest is that of fsdp2.py.
"""

from __future__ import annotations

import os
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from llama import Llama, batch, digest, loss_of, quiet, say, tensors_of
from tensor_parallel import parallelize
from torch.utils.data import DataLoader

import initcfg

SEED = 0


class LanguageModel(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model: Any = None
        self.losses: list[float] = []

    def configure_model(self) -> None:
        if self.model is not None:
            # Lightning calls this once for each of fit, validate, test and predict.
            return
        with torch.device("meta"):
            model = Llama()
        assert self.device_mesh is not None
        parallelize(model, self.device_mesh["data_parallel"], self.device_mesh["tensor_parallel"])
        initcfg.materialize(model, plan=initcfg.trace(Llama), seed=SEED)
        self.model = model

    def on_fit_start(self) -> None:
        found = tensors_of(self.model)
        alone = Llama()
        initcfg.trace(Llama).apply(alone, seed=SEED)
        assert digest(found) == digest(tensors_of(alone))
        say("digest", digest(found))

    def training_step(self, tokens: torch.Tensor) -> torch.Tensor:
        loss = loss_of(self.model(tokens[:, :-1]), tokens)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=1e-2)


def main() -> None:
    quiet()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    tensor_ranks = 2 if world % 2 == 0 else 1
    trainer = lightning.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=world // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        strategy=ModelParallelStrategy(
            data_parallel_size=world // tensor_ranks, tensor_parallel_size=tensor_ranks
        ),
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    module = LanguageModel()
    tokens = batch(0, torch.device("cpu"))
    trainer.fit(module, DataLoader([tokens] * 3, batch_size=None))  # type: ignore[arg-type]
    assert module.losses[-1] < module.losses[0]
    say("loss", *(f"{loss:.3f}" for loss in module.losses))


if __name__ == "__main__":
    main()

"""Save with torch.distributed.checkpoint, and resume in another layout.

    torchrun --nproc-per-node 2 examples/scale/resume.py FOLDER   # trains with FSDP2, and saves
    torchrun --nproc-per-node 4 examples/scale/resume.py FOLDER   # resumes on a mesh of two dimensions

Each run that finds a checkpoint resumes from it; the first makes it. Both end with the same digest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from llama import Llama, batch, digest, finish, loss_of, say, start, tensors_of
from tensor_parallel import parallelize
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh

import initcfg

SEED = 0
STEPS = 3


def main(folder: Path) -> None:
    device = start()
    world = dist.get_world_size()
    found = (folder / ".metadata").exists()
    dist.barrier()
    # The first run shards; a later one is tensor parallel too, where its ranks allow.
    tensor_ranks = 2 if found and world % 2 == 0 else 1
    mesh = init_device_mesh(device.type, (world // tensor_ranks, tensor_ranks), mesh_dim_names=("dp", "tp"))

    plan = initcfg.trace(Llama)
    with torch.device("meta"):
        model = Llama()
    parallelize(model, mesh["dp"], mesh["tp"])
    # Where a checkpoint follows, this is for what it does not hold: inv_freq is in no state_dict, and
    # to_empty() would leave it with whatever lay in memory.
    initcfg.materialize(model, plan=plan, seed=SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    if found:
        weights, moments = get_state_dict(model, optimizer)
        state = {"model": weights, "optimizer": moments}
        dcp.load(state, checkpoint_id=folder)
        set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
        say(f"resumed on a mesh of {tuple(mesh.shape)}")
    else:
        say("initialized:", digest(tensors_of(model)))
        for step in range(STEPS):
            tokens = batch(step, device)
            loss_of(model(tokens[:, :-1]), tokens).backward()
            optimizer.step()
            optimizer.zero_grad()
        weights, moments = get_state_dict(model, optimizer)
        dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=folder)
        say(f"saved after {STEPS} steps on a mesh of {tuple(mesh.shape)}")

    said = folder / "digest.txt"
    trained = digest(tensors_of(model))
    if dist.get_rank() == 0 and not found:
        said.write_text(trained)
    dist.barrier()
    assert said.read_text() == trained
    say("digest", trained)

    tokens = batch(STEPS, device)
    loss = loss_of(model(tokens[:, :-1]), tokens)
    loss.backward()
    optimizer.step()
    say(f"the next loss {loss.item():.4f}")
    finish()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: torchrun --nproc-per-node N examples/scale/resume.py FOLDER")
    main(Path(sys.argv[1]))

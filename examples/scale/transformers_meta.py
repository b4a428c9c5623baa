"""A model of transformers: built without memory, sharded, and initialized as its own ``_init_weights`` says.

    torchrun --nproc-per-node 4 examples/scale/transformers_meta.py

Needs transformers 5. Its rotary frequencies are a buffer that no checkpoint holds, its head may be tied.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from llama import digest, finish, say, start, tensors_of
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import initcfg

SEED = 0
CONFIG = LlamaConfig(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=64,
    tie_word_embeddings=True,
)


def build() -> Any:
    return AutoModelForCausalLM.from_config(CONFIG)


class StreamLlama(LlamaForCausalLM):
    """The same model, whose numbers come from the stream wherever transformers itself initializes it.

    That is when it is built, by ``Trainer(model_init=...)`` too, and what a checkpoint lacks in
    ``from_pretrained``. What a checkpoint gave is marked, and transformers' code leaves it alone.
    """

    def post_init(self) -> None:
        super().post_init()
        if not self.lm_head.weight.is_meta:
            # Its parts have been initialized one by one; now the whole is there, and its names are.
            for module in self.modules():
                module._is_hf_initialized = False  # type: ignore[assignment]
            self.initialize_weights()

    def initialize_weights(self) -> None:
        initcfg.trace(super().initialize_weights, self).apply(self, seed=SEED)


def main() -> None:
    device = start()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    plan = initcfg.trace(build)
    with torch.device("meta"):
        model = build()
    for block in model.model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    initcfg.materialize(model, plan=plan, seed=SEED)
    assert model.lm_head.weight is model.model.embed_tokens.weight

    found = tensors_of(model)
    alone = build()
    inverse = alone.model.rotary_emb.inv_freq.clone()
    plan.apply(alone, seed=SEED)
    assert digest(found) == digest(tensors_of(alone))
    assert torch.equal(found["model.rotary_emb.inv_freq"], inverse)
    say("digest", digest(found))

    # Whoever lets transformers build the model finds the same numbers.
    same = StreamLlama(CONFIG)
    assert digest(tensors_of(same)) == digest(found)
    tokens = torch.arange(8, device=device)[None]
    model(input_ids=tokens, labels=tokens).loss.backward()
    say("one backward done")
    finish()


if __name__ == "__main__":
    main()

"""transformers' callback that initializes, in real runs of its Trainer."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import initcfg
from initcfg.errors import ArgumentValueError, RuleTypeError

missing = [name for name in ("transformers", "accelerate") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.peers,
    pytest.mark.hf,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(bool(missing), reason=f"{missing} not installed"),
]
RULES = [dict(type="Normal", layer=["Conv1D", "Embedding"], std=0.1)]


@pytest.fixture(autouse=True)
def in_a_folder(stand_ins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def tiny() -> Any:
    transformers = importlib.import_module("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_embd=16, n_head=2, vocab_size=97, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


class Sentences(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(97, (8,), generator=torch.Generator().manual_seed(place))
        return {"input_ids": ids, "labels": ids}


def trained(model: Any, *callbacks: Any, resume: Any = None, **options: Any) -> Any:
    transformers = importlib.import_module("transformers")
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": "out",
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "report_to": [],
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 3,
            **options,
        }
    )
    firsts: dict[str, torch.Tensor] = {}

    class First(transformers.TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if not firsts:
                firsts.update({name: each.clone() for name, each in given["model"].state_dict().items()})

    data: Any = Sentences()
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[*callbacks, First()])
    trainer.train(resume_from_checkpoint=resume)
    return firsts


def expected(seed: int) -> dict[str, torch.Tensor]:
    model = tiny()
    initcfg.init_weights(model, RULES, seed=seed)
    names = [*initcfg.plan(model, RULES)]
    return {name: each for name, each in model.state_dict().items() if name in names}


def same(firsts: Any, wanted: Any) -> bool:
    # What no rule reaches keeps what its constructor gave it, which is the same in each model: 0 or 1.
    return all(torch.equal(firsts[name], each) for name, each in wanted.items())


def test_training_begins_with_the_weights_of_the_rules(tmp_path: Path) -> None:
    from initcfg.integrations.transformers import InitCallback

    model, callback = tiny(), InitCallback(RULES)
    firsts = trained(model, callback)
    # The seed of the TrainingArguments.
    assert callback.ledger.seed == 3 and same(firsts, expected(3))
    assert initcfg.Ledger.load(tmp_path / "out" / "init_ledger.json").seed == 3
    assert (tmp_path / "out" / "init_plan.json").is_file()
    # Tied weights are one tensor.
    assert model.lm_head.weight is model.transformer.wte.weight
    # Trained again, it goes on.
    again = trained(model, callback)
    assert not same(again, expected(3))


def test_a_resumed_run_keeps_its_weights(tmp_path: Path) -> None:
    from initcfg.integrations.transformers import InitCallback

    model = tiny()
    trained(model, InitCallback(RULES, seed=5), save_strategy="steps", save_steps=2)
    other = InitCallback(RULES, seed=6)
    firsts = trained(tiny(), other, resume="out/checkpoint-2", max_steps=4)
    assert other.ledger is None and same(firsts, model.state_dict())
    assert initcfg.Ledger.load(tmp_path / "out" / "init_ledger.json").seed == 5


def test_what_is_no_rule_is_said_before_training() -> None:
    from initcfg.integrations.transformers import InitCallback

    with pytest.raises(RuleTypeError, match="a dict or a list of dicts, not 3"):
        InitCallback(3)


def test_a_model_class_that_is_none_or_takes_another_config() -> None:
    from initcfg.integrations.transformers import initialize

    transformers = importlib.import_module("transformers")
    config = tiny().config
    for given, says in (
        ("GPT2LMHeadModel", "model_class is a class of transformers, not 'GPT2LMHeadModel'"),
        (transformers.BertModel, "A BertModel is built from a BertConfig, not from a GPT2Config"),
    ):
        with pytest.raises(ArgumentValueError, match=says):
            initialize(config, RULES, seed=0, model_class=given)

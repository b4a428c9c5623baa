"""transformers: callbacks of its Trainer, and models whose weights a plan decides.

In: a model of transformers, its config, or a checkpoint that has only a part of it.
Out: its initial weights, with plan and ledger; a diagnosis of it.

Read: `library.py` (transformers, or what is missing), then `initializing.py` (the callback that initializes),
`diagnosing.py` (the callback that diagnoses), `building.py` (a model from its config) and `loading.py` (what
a checkpoint lacks) with `models.py` (what a config is built as).
"""

from initcfg.integrations.transformers.building import initialize
from initcfg.integrations.transformers.diagnosing import DiagnoseCallback
from initcfg.integrations.transformers.initializing import InitCallback
from initcfg.integrations.transformers.loading import from_pretrained

__all__ = ["DiagnoseCallback", "InitCallback", "from_pretrained", "initialize"]

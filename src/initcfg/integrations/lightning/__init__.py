"""Lightning: callbacks of its Trainer, for code and for the YAML of its command line.

In: a ``LightningModule``, before its first step.
Out: its initial weights, with plan and ledger as files; a diagnosis of it.

Read: `library.py` (Lightning, under either name), then `initializing.py` (the callback that initializes) and
`diagnosing.py` (the callback that diagnoses).
"""

from initcfg.integrations.lightning.diagnosing import DiagnoseCallback
from initcfg.integrations.lightning.initializing import InitCallback

__all__ = ["DiagnoseCallback", "InitCallback"]

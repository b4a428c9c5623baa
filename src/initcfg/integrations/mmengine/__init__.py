"""MMEngine: its Runner hands the initialization over, where a config asks for this module.

In: a Runner, whose config has ``custom_imports = dict(imports=["initcfg.integrations.mmengine"])``.
Out: its model, initialized as ``initcfg init`` does; plan and ledger in its work folder.

Read: `library.py` (MMEngine, or what is missing), then `settings.py` (the config's key ``initcfg``),
`takeover.py` (what the Runner does now), and `hook.py` (what keeps plan and ledger).

To import it is enough; :func:`hand_back` undoes it.
"""

from initcfg.integrations.mmengine.hook import InitHook
from initcfg.integrations.mmengine.takeover import hand_back, take_over

__all__ = ["InitHook", "hand_back", "take_over"]

take_over()

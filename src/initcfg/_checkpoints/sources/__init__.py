"""From the text in ``checkpoint=`` to a file or a folder on this machine.

The one function is :func:`locate`; each scheme has a module of its own, imported when it is used. Nothing
here opens a checkpoint: that is what :mod:`initcfg._checkpoints.formats` does with what is found.
"""

from initcfg._checkpoints.sources.locate import locate
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.schemes import Source, register

__all__ = ["Located", "Source", "locate", "register"]

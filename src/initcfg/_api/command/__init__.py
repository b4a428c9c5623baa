"""initcfg._api.command"""

from initcfg._api.command.cli import main

__all__ = ["main"]

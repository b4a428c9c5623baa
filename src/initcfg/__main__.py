"""``python -m initcfg``: the command."""

from initcfg._cli import main

main(prog_name="initcfg")

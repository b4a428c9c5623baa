"""``python -m initcfg``: the command."""

from initcfg._api.command import main

if __name__ == "__main__":
    main(prog_name="initcfg")

"""``python -m initcfg``: the command."""

import sys

if "--untrusted" in sys.argv and sys.path and not getattr(sys.flags, "safe_path", False):
    # `python -m` puts the folder that one works in before all others.
    del sys.path[0]

from initcfg._api.command import main

if __name__ == "__main__":
    main(prog_name="initcfg")

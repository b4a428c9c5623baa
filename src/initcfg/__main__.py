"""``python -m initcfg``: the command."""

import sys

if "--untrusted" in sys.argv and sys.path and not getattr(sys.flags, "safe_path", False):
    # `python -m` puts the folder that one works in before all others.
    del sys.path[0]

try:
    from initcfg._api.command import main, pause_until_work

    pause_until_work()
except KeyboardInterrupt:
    # From its first import on, the command ends as it does later.
    from initcfg.errors import say

    say("Interrupted; no file was left half-written.", error=True, head="error: ")
    sys.exit(130)

if __name__ == "__main__":
    main(prog_name="initcfg")

"""The command ``initcfg``.

In: the words of a command line.
Out: text, tables or JSON, files, and an exit code: 0, 1 for "it differs", 2 for an error.

Read: `cli.py`, `weights_commands.py` and `upkeep.py` (every command), then `request.py` and `options.py`
(what they share), `terminal.py` (what is printed, and how errors are), `collector.py` (Python's, out of the
way), `planning.py` (from a config to a plan), and a file for each command that does more: `initializing.py`
with `hugging_face_folder.py`, `tracing.py`, `roles.py`, `verifying.py`, `completing.py` with
`library_names.py`, `locking.py`, `schema_file.py`, `listing.py`, `width_transfer.py`, `diagnosing.py` with
`diagnosis_view.py`, `doctor.py`. Of these only the first seven load with the command: the help stays quick,
and needs no torch.
"""

from initcfg._api.command.cli import main
from initcfg._api.command.collector import pause_until_work

__all__ = ["main", "pause_until_work"]

"""From the text in ``checkpoint=`` to a file or a folder on this machine.

In: a path, an address with a scheme, or a state_dict, a module or a function that is given in code.
Out: a ``Located``: a file that is whole and has its digest, a folder, or a mapping in memory.

Read: `locate.py` (the way in), `located.py` (the answer), `schemes.py` (the table of schemes, and how to
register one); a file for each kind of source: `local.py`, `in_memory.py`, `download.py` (the web: fetches and
resumes), `file_systems.py` (fsspec), `hugging_face.py`, and names in the tables of others:
`torchvision_names.py`, `timm_names.py`, `openmmlab_names.py`, with `optional_packages.py`; what fetches:
`through_cache.py` (one file, whoever fetches it), `cache.py` (the cache on disk), `connection.py` (one
request), `digests.py`, `shard_index.py` (several files), `address.py` (without secrets), `settings.py` (the
environment), `progress.py` (a bar).

Nothing here opens a checkpoint: `initcfg._checkpoints.formats` opens what is found.
"""

from initcfg._checkpoints.sources.digests import file_digest, is_settled
from initcfg._checkpoints.sources.locate import locate
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.progress import progress_bar
from initcfg._checkpoints.sources.schemes import Source, register

__all__ = ["Located", "Source", "file_digest", "is_settled", "locate", "progress_bar", "register"]

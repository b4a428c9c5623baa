"""The folder of a checkpoint: what is in it already, and what was begun there and not finished."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from initcfg._apply.streaming.items import Item
from initcfg._apply.streaming.shard_files import INDEX, Shard
from initcfg._apply.streaming.writer import output_errors, sync_folder
from initcfg._apply.weights_file import check_path, check_writable
from initcfg._apply.written_digests import digest_of
from initcfg._checkpoints.formats import METADATA, UNFINISHED, TensorInfo, open_path
from initcfg._config.files import write_atomically
from initcfg._plan import Ledger
from initcfg.errors import (
    CheckpointError,
    OutputError,
    PlanError,
    in_bytes,
)
from initcfg.values import dtype_name

LEDGER = "model.ledger.json"
_FORMAT = "initcfg-unfinished"
_OURS = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|model\.ledger\.json"
    r"|\.metadata|__\d+_\d+\.distcp"
)
# What a killed process leaves.
_STALE = re.compile(
    r"\.model[-.\w]*\.partial|\.metadata\.tmp|__\d+_\d+\.distcp"
    r"|\.(model\.ledger\.json|model\.safetensors\.index\.json|\.initcfg-unfinished\.json)\..*\.json"
)
# Room for the ledger, the index, and what a file system needs itself.
_MARGIN = 1 << 20
_DIFFERENCES = {
    "plan": "another plan (another config, or other types)",
    "seed": "seed {there} instead of {here}",
    "rng": "rng {there} instead of {here}",
    "stream": "stream version {there} instead of {here}",
    "format": "format {there} instead of {here}",
    "tensors": "other tensors, or another division into files",
}


@dataclass(frozen=True)
class Identity:
    """What must be the same for two runs to write the same checkpoint.

    ``plan`` is the digest of the plan in the types that are stored; ``tensors`` is that of keys, shapes and
    types, and of what lies in which file.
    """

    plan: str
    seed: int
    rng: str
    stream: int
    format: str
    tensors: str

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """What is different in another run, for a person."""
        found = {
            name: _DIFFERENCES[name].format(there=other.get(name), here=here)
            for name, here in asdict(self).items()
            if other.get(name) != here
        }
        if len(found) > 1:
            # Where the plan is another, the tensors follow.
            found.pop("tensors", None)
        return list(found.values())


def seed_in(folder: Path) -> int | None:
    """The seed of what was begun or finished in a folder; None if nothing was."""
    begun = _begun(folder)
    if begun is not None:
        seed = begun.get("seed")
        return seed if isinstance(seed, int) else None
    ledger = _ledger(folder)
    return None if ledger is None else ledger.seed


class Folder:
    """The folder that a checkpoint is written to; it is made if its parent exists.

    ``check``: what is there is read, and compared with the digest that each file has of itself.

    Use it as a context, by one process: it holds a lock, so that two commands do not write to one folder.
    """

    def __init__(self, path: Path, identity: Identity, *, check: bool = True) -> None:
        self.path = path
        self._check = check
        self._identity = identity
        self._made = False
        self._lock: int | None = None

    def __enter__(self) -> Folder:
        check_folder(self.path)
        with output_errors(self.path):
            self._made = not os.path.isdir(self.path)
            self.path.mkdir(exist_ok=True)
            try:
                self._lock = _locked(self.path)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
        if self._made:
            # Nothing was written: it is gone again.
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def complete(self, shards: Sequence[Shard], tensors: Mapping[str, Item]) -> Ledger | None:
        """The ledger of the checkpoint that is there already, if it is the one to be written.

        It is known by its ledger and its files; of DCP, by its tensors instead.
        """
        ledger = _ledger(self.path)
        if ledger is None or self.unfinished() or self._differences(ledger):
            return None
        if self._identity.format == "dcp":
            return ledger if self._holds(tensors) else None
        return ledger if self._indexed(shards) and len(self.finished(shards)) == len(shards) else None

    def _indexed(self, shards: Sequence[Shard]) -> bool:
        return len(shards) == 1 or os.path.isfile(self.path / INDEX)

    def _has_damage(self, shards: Sequence[Shard]) -> bool:
        """Whether it is the checkpoint to be written, and files are gone, cut off, or not what they were.

        What somebody else wrote over one of them is no damage.
        """
        ledger = _ledger(self.path)
        if ledger is None or self._differences(ledger):
            return False
        if self._identity.format == "dcp":
            return not _opens(self.path)
        names = {LEDGER, *([INDEX] if len(shards) > 1 else []), *(shard.name for shard in shards)}
        ours = all(each.name in names for each in self.path.iterdir() if _OURS.fullmatch(each.name))
        return ours and all(_is_begun(self.path / shard.name, shard) for shard in shards)

    def unfinished(self) -> bool:
        """Whether a checkpoint was begun there and not finished."""
        return os.path.exists(self.path / UNFINISHED)

    def kept(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that were whole when this run began, on any rank."""
        names = (_begun(self.path) or {}).get("kept", ())
        return [shard for shard in shards if shard.name in names]

    def finished(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards that are there already, whole."""
        return [shard for shard in shards if _is_whole(self.path / shard.name, shard, check=self._check)]

    def begin(self, shards: Sequence[Shard], *, size: int, overwrite: bool = False) -> None:
        """Say in the folder what is written to it (``size`` bytes); look at what an earlier run left."""
        begun = _begun(self.path)
        if begun == {}:
            different = ["its note cannot be read"]
        else:
            different = None if begun is None else self._identity.differences(begun)
        if begun is None and not overwrite and self._has_damage(shards):
            # It goes on from what is sound.
            begun, different = {}, []
        present = [each for each in self.path.iterdir() if _OURS.fullmatch(each.name)]
        if not overwrite:
            self._refuse(different, sorted(each.name for each in present) if begun is None else [])
        kept = self.finished(shards) if different == [] and not overwrite else []
        keep = {shard.name for shard in kept}
        stale = [each for each in self.path.iterdir() if _STALE.fullmatch(each.name)]
        old = [each for each in {*present, *stale} if each.name not in keep]
        self._check_room(size - sum(shard.size for shard in kept), old)
        with output_errors(self.path):
            # "format" says what kind of file the note itself is.
            note = {**asdict(self._identity), "files": self._identity.format, "format": _FORMAT}
            text = json.dumps({**note, "kept": sorted(keep)}, indent=1)
            write_atomically(self.path / UNFINISHED, text.encode() + b"\n")
            # The index first, so that what is left is never taken for a whole.
            for each in sorted(old, key=lambda file: file.name not in (INDEX, METADATA)):
                each.unlink(missing_ok=True)
            sync_folder(self.path)
        self._made = False

    def finish(self, ledger: Ledger, index: Mapping[str, Any] | None) -> None:
        """Write what makes the files a checkpoint: the ledger and, where they are several, the index."""
        ledger.save(self.path / LEDGER)
        if index is not None:
            text = json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False)
            write_atomically(self.path / INDEX, text.encode() + b"\n")
        with output_errors(self.path):
            sync_folder(self.path)
            (self.path / UNFINISHED).unlink()
            sync_folder(self.path)

    def give_up(self, shards: Sequence[Shard], *, alone: bool) -> None:
        """After an error: what an interrupted run can go on from stays, and the rest is gone.

        If this process is not alone, another may be finishing a file just now.
        """
        with contextlib.suppress(OSError):
            for each in self.path.iterdir():
                if _STALE.fullmatch(each.name):
                    each.unlink(missing_ok=True)
            if alone and not any(_is_whole(self.path / each.name, each, check=False) for each in shards):
                (self.path / UNFINISHED).unlink(missing_ok=True)
                self._made = not any(self.path.iterdir())

    def _refuse(self, different: list[str] | None, occupied: list[str]) -> None:
        if different:
            raise OutputError(
                f"Another checkpoint was begun in {str(self.path)!r} and not finished: "
                f"{'; '.join(different)}.",
                where=str(self.path / UNFINISHED),
                fix="Take another folder, or repeat the command that began it; --overwrite removes it.",
            )
        if occupied:
            shown = ", ".join(occupied[:3]) + (", ..." if len(occupied) > 3 else "")
            ledger = _ledger(self.path)
            differ = [] if ledger is None else self._differences(ledger) or ["its files differ"]
            raise OutputError(
                f"The folder {str(self.path)!r} holds another checkpoint already ({shown})"
                f"{': ' if differ else ''}{'; '.join(differ)}.",
                fix="Take another folder; --overwrite replaces it.",
            )

    def _holds(self, tensors: Mapping[str, Item]) -> bool:
        """Whether the checkpoint there has these tensors, and no others."""
        try:
            with open_path(self.path) as reader:
                found = {key: reader.info(key) for key in reader.keys()}  # noqa: SIM118
        except CheckpointError:
            return False
        return found == {key: TensorInfo(item.shape, dtype_name(item.dtype)) for key, item in tensors.items()}

    def _differences(self, ledger: Ledger) -> list[str]:
        said = {
            "plan": ledger.plan_digest,
            "seed": ledger.seed,
            "rng": ledger.rng,
            "stream": ledger.stream_version if ledger.rng == "stream" else self._identity.stream,
            "format": "dcp" if os.path.isfile(self.path / METADATA) else "safetensors",
            "tensors": self._identity.tensors,
        }
        return self._identity.differences(said)

    def _check_room(self, needed: int, removed: Sequence[Path]) -> None:
        free = shutil.disk_usage(self.path).free + sum(each.stat().st_size for each in removed)
        if needed + _MARGIN > free:
            raise OutputError(
                f"The checkpoint needs {in_bytes(needed)}, but only {in_bytes(free)} are free for "
                f"{str(self.path)!r}.",
                fix="Make room, or take another folder.",
            )


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be written to, before the work begins."""
    check_path(str(path))
    if os.path.exists(path) and not os.path.isdir(path):
        raise OutputError(
            f"{str(path)!r} is a file, and a checkpoint in shards needs a folder.", fix="Choose another name."
        )
    check_writable(path if os.path.isdir(path) else path.parent)


def _begun(folder: Path) -> dict[str, Any] | None:
    """What was begun in a folder; None if nothing was."""
    path = folder / UNFINISHED
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        return {}
    return {**data, "format": data.get("files")}


def _ledger(folder: Path) -> Ledger | None:
    """The ledger of the checkpoint in a folder, if there is one."""
    try:
        return Ledger.load(folder / LEDGER)
    except PlanError:
        return None


def _is_whole(path: Path, shard: Shard, *, check: bool) -> bool:
    try:
        if path.stat().st_size != shard.size:
            return False
        with open(path, "rb") as file:
            digest = shard.digest_in(file.read(len(shard.header)))
            if not digest or not check:
                return digest is not None
            return digest_of(file) == digest
    except OSError:
        return False


def _opens(folder: Path) -> bool:
    try:
        with open_path(folder):
            return True
    except CheckpointError:
        return False


def _is_begun(path: Path, shard: Shard) -> bool:
    """Whether a file is a shard, whole in its length or only its beginning, or is not there."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(shard.header))
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # What is missing of the header is as it should be.
    return size <= shard.size and shard.digest_in(head + shard.header[len(head) :]) is not None


def _locked(folder: Path) -> int | None:
    """A handle that holds a lock on a folder until it is closed, or the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # On a file system without locks, nothing is refused.
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise OutputError(
                f"Another process is writing to {str(folder)!r}.", fix="Wait for it, or end it."
            ) from error
    return handle

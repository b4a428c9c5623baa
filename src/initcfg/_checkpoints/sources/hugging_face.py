"""``hf://``: repositories of the Hugging Face Hub, by its own client.

The client keeps its own cache, and honours its own variables: ``HF_HOME``, ``HF_HUB_CACHE``,
``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_TOKEN``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from initcfg._checkpoints.formats import FOLDER_FILES
from initcfg._checkpoints.sources.digests import Expected
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.optional_packages import imported
from initcfg._checkpoints.sources.settings import is_offline, other_flag
from initcfg._checkpoints.sources.shard_index import is_index, shard_names
from initcfg.errors import CheckpointError, CheckpointFetchError, CheckpointNotFoundError, nearest

# What a repository calls its weights; .metadata is of distributed checkpoints, which are not kept there.
PREFERRED = FOLDER_FILES[1:]


def parse(source: str) -> tuple[str, str | None, str | None]:
    """Take an ``hf://`` address apart: repository, revision, file.

    Example:
        >>> parse("hf://owner/net@v1/part/model.safetensors")
        ('owner/net', 'v1', 'part/model.safetensors')
        >>> parse("hf://owner/net@refs/pr/3")
        ('owner/net', 'refs/pr/3', None)
    """
    parts = source.partition("://")[2].strip("/").removeprefix("models/").split("/")
    if parts[0] in ("datasets", "spaces", "buckets") or {"", ".", ".."} & set(parts):
        raise CheckpointError(
            f"{source!r} names no repository of models.",
            fix="Write hf://owner/repo[@revision][/file].",
        )
    # Repositories of one name have no owner: hf://gpt2.
    count = 1 if len(parts) == 1 or "@" in parts[0] else 2
    repository, at, revision = "/".join(parts[:count]).partition("@")
    rest = parts[count:]
    if revision == "refs" and len(rest) >= 2:
        revision, rest = "/".join([revision, *rest[:2]]), rest[2:]
    if at and not revision:
        raise CheckpointError(f"{source!r} has an '@' and no revision after it.")
    return repository, unquote(revision) or None, "/".join(rest) or None


def from_hugging_face(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A file of a repository, or the weights that it has."""
    repository, revision, file = parse(source)
    files = PREFERRED if file is None else (file,)
    if file is not None and not PurePosixPath(file).suffix:
        # Perhaps a folder of the repository.
        files += tuple(f"{file}/{name}" for name in PREFERRED)
    return from_repository(repository, revision, files, source, sha256=sha256, offline=offline)


def from_repository(
    repository: str,
    revision: str | None,
    files: Sequence[str],
    source: str,
    *,
    sha256: str | None,
    offline: bool | None,
) -> Located:
    """The first of some files that a repository has; with its shards, if it is an index."""
    without_network = (
        is_offline(offline) or other_flag("HF_HUB_OFFLINE") or other_flag("TRANSFORMERS_OFFLINE")
    )
    hub = imported("huggingface_hub", source, "hf")
    repo = _Repository(repository, revision, source, without_network, hub)
    name, path = repo.first(files)
    commit = path.parents[len(PurePosixPath(name).parts) - 1].name
    origin = f"hf://{repository}@{commit}/{name}"
    if not is_index(name):
        fix = "Check the digest and the revision, or clear the client's cache."
        return Located(path, None, origin, Expected.of(path.name, sha256).checked(path, origin, fix))
    if sha256 is not None:
        raise CheckpointError(
            f"sha256= is the digest of one file, and {source!r} has its weights in several.",
            fix="Leave sha256= out, and name a commit after '@'.",
        )
    # All of one commit, whatever happens to the branch meanwhile.
    pinned = replace(repo, revision=commit)
    for shard in shard_names(path, origin):
        pinned.first([str(PurePosixPath(name).with_name(shard))])
    return Located(path.parent, None, origin, None)


@dataclass
class _Repository:
    name: str
    revision: str | None
    source: str
    offline: bool
    hub: Any

    def first(self, files: Sequence[str]) -> tuple[str, Path]:
        """The first of some files that is there, and where."""
        for name in files:
            if path := self._file(name):
                return name, path
        raise self._missing(files)

    def _file(self, name: str) -> Path | None:
        """A file in the client's cache, fetched if need be; None if the repository has none of the name."""
        errors = imported("huggingface_hub.errors", self.source, "hf")
        try:
            path = self.hub.hf_hub_download(
                self.name, name, revision=self.revision, local_files_only=self.offline, library_name="initcfg"
            )
            # Without the network the client hands out folders, too.
            return Path(path) if os.path.isfile(path) else None
        except errors.LocalEntryNotFoundError as error:
            if self.offline:
                return None
            raise self._failed(error) from error
        except errors.EntryNotFoundError:
            return None
        except errors.GatedRepoError as error:
            raise CheckpointFetchError(
                f"The repository of {self.source!r} is open only to those who accepted its terms.",
                fix="Accept them on its page, and sign in: hf auth login, or HF_TOKEN.",
            ) from error
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            what = "revision" if isinstance(error, errors.RevisionNotFoundError) else "repository"
            raise CheckpointNotFoundError(
                f"The Hugging Face Hub has no {what} {self.source!r}, or it is private.",
                fix="Check the name; for a private repository sign in: hf auth login, or HF_TOKEN.",
            ) from error
        # Which network library it uses has changed twice; the base class of its errors is there in each.
        except (OSError, errors.HfHubHTTPError.__mro__[1]) as error:
            raise self._failed(error) from error
        except ValueError as error:
            raise CheckpointError(
                f"{self.source!r} is not a valid address: {_first_line(error)}", fix="Correct the address."
            ) from error

    def _failed(self, error: Exception) -> CheckpointError:
        return CheckpointFetchError(
            f"The checkpoint {self.source!r} cannot be fetched: {_first_line(error.__cause__ or error)}",
            fix="Try again when the network and the Hugging Face Hub work; offline=True uses its cache.",
        )

    def _missing(self, files: Sequence[str]) -> CheckpointError:
        if self.offline:
            return CheckpointFetchError(
                f"The checkpoint {self.source!r} is not in the cache of the Hugging Face Hub's client, and "
                "the network is not to be used.",
                fix="Fetch it once with the network: without offline=True, INITCFG_OFFLINE, HF_HUB_OFFLINE.",
            )
        names: list[str] = []
        # Only to help: whatever goes wrong here is not the news.
        with contextlib.suppress(Exception):
            names = self.hub.HfApi().list_repo_files(self.name, revision=self.revision)
        weights = [name for name in names if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt"))]
        at = f"@{self.revision}" if self.revision else ""
        return CheckpointNotFoundError(
            f"The repository of {self.source!r} has no {' or '.join(files)}.",
            meant=[f"hf://{self.name}{at}/{n}" for n in nearest(files[0], weights) or weights[:4]],
        )


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."

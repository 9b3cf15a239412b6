"""Weights from the Hugging Face hub and its cache.

Files in the cache are used without a request, so a branch that has moved is not noticed; the
commit in use is logged, and a commit hash as `revision` fixes it. The environment variables of
`huggingface_hub`, such as `HF_HOME`, `HF_HUB_OFFLINE` and `HF_TOKEN`, apply.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NoReturn

from stitching.weights.download import CONTACT_S, within
from stitching.weights.roles import ROLE

log = logging.getLogger(__name__)

#: Weight files of a folder in diffusers' layout, best first; without variants in half precision,
#: whose values differ.
WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
)


def folder(repository: str, subfolder: str | None = None, revision: str | None = None) -> Path:
    """Return a local folder in diffusers' layout: `config.json` and one weight file.

    Args:
        repository: `org/name`.
        subfolder: Folder inside the repository, such as `vae`.
        revision: Branch, tag or commit.

    Raises:
        FileNotFoundError: Not in the cache and not available; says why and what to do.
    """
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    first, *others = [prefix + name for name in ("config.json", *WEIGHT_NAMES)]
    # A whole subfolder, because which of the weight files exist is not known without the hub.
    get = f"--include '{prefix}*'" if prefix else f"{first} {others[0]}"
    wanted = _Wanted(repository, revision, first, get, "FOLDER")
    config = wanted.cached()
    if config is None or not any((config.parent / name).is_file() for name in WEIGHT_NAMES):
        commit = wanted.commit(first)
        if commit is None:
            hint = f"correct subfolder={subfolder}" if subfolder else "set subfolder, such as vae"
            raise FileNotFoundError(f"{repository} on the hub has no {first}: {hint}")
        best = next((name for name in others if wanted.commit(name, commit)), None)
        if best is None:
            raise FileNotFoundError(f"{repository} on the hub has none of {', '.join(others)}")
        config = wanted.fetch(first)
        # By commit, so that both files come from one state of the repository.
        wanted.fetch(best, _commit(config, first))
    _log(repository, first, _commit(config, first))
    return config.parent


def file(repository: str, name: str, revision: str | None = None) -> Path:
    """Return the local path of one file, `name` inside the repository `org/name`.

    Raises:
        FileNotFoundError: Not in the cache and not available; says why and what to do.
    """
    wanted = _Wanted(repository, revision, name, name, f"FOLDER/{name}")
    path = wanted.cached()
    if path is None:
        if wanted.commit(name) is None:
            raise FileNotFoundError(f"{repository} on the hub has no file {name}")
        path = wanted.fetch(name)
    _log(repository, name, _commit(path, name))
    return path


@dataclass(frozen=True)
class _Wanted:
    """A file of the hub, and the command that fetches it on another machine."""

    repository: str
    revision: str | None
    name: str
    get: str
    place: str

    def cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, self.name, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def commit(self, name: str, revision: str | None = None) -> str | None:
        """The current commit of the revision, or None where it has no such file.

        In bounded time, unlike the library's own request before a download.
        """
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError

        if constants.HF_HUB_OFFLINE:
            self.missing("HF_HUB_OFFLINE forbids requests")
        url = hf_hub_url(self.repository, name, revision=revision or self.revision)
        try:
            # A second more than the library's own limit, whose message is better.
            found = within(CONTACT_S + 1, lambda: get_hf_file_metadata(url, timeout=CONTACT_S))
        except EntryNotFoundError:
            return None
        except Exception as error:  # its class depends on the HTTP library
            self.fail(error)
        if found.commit_hash is None:
            self.missing("the server is no hub")
        return found.commit_hash

    def fetch(self, name: str, revision: str | None = None) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(self.repository, name, revision=revision or self.revision)
        except Exception as error:  # its class depends on the HTTP library
            self.fail(error)
        return Path(path)

    def fail(self, error: Exception) -> NoReturn:
        """Raise an error with the reason of a failed request and a remedy."""
        from huggingface_hub import constants
        from huggingface_hub.errors import (
            GatedRepoError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        status = getattr(getattr(error, "response", None), "status_code", None)
        login = "log in with `hf auth login`, or set HF_TOKEN"
        where = f"{self.repository} on the hub"
        if isinstance(error, RevisionNotFoundError):
            message = f"{where} has no revision {self.revision}: correct it"
        elif isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
            message = (
                f"there is no {where} that you may read ({status}): correct the name, or, if it "
                f"is private or gated, {login}"
            )
        elif isinstance(error, GatedRepoError) or status in (401, 403):
            message = (
                f"{where} is gated ({status}): accept its conditions at "
                f"{constants.ENDPOINT}/{self.repository}, then {login}"
            )
        else:
            self.missing(" ".join(str(error).split()) or type(error).__name__, error)
        raise FileNotFoundError(message) from error

    def missing(self, reason: str, error: Exception | None = None) -> NoReturn:
        from huggingface_hub import constants

        at = f" --revision {self.revision}" if self.revision else ""
        raise FileNotFoundError(
            f"{self.name} of {self.repository} is neither in the hub's cache "
            f"({constants.HF_HUB_CACHE}) nor available from {constants.ENDPOINT} ({reason}): "
            f"on a machine with network run `hf download {self.repository} {self.get}{at} "
            f"--local-dir FOLDER`, copy FOLDER here and set {ROLE}.weights={self.place}; see "
            "docs/CHECKPOINTS.md"
        ) from error


def _commit(path: Path, name: str) -> str:
    """The commit of a cached file, `snapshots/COMMIT/NAME`."""
    return path.parents[len(PurePosixPath(name).parts) - 1].name


@lru_cache(maxsize=64)
def _log(repository: str, name: str, commit: str) -> None:
    """Log the commit once per file and process."""
    log.info("%s of %s on the hub: commit %s", name, repository, commit)

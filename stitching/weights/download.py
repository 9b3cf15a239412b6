"""Fetch a file by its address: resumed where it broke off, verified, all or nothing.

A machine without network must hear so within seconds, and a download that breaks off after hours
must not start anew. The checksum decides what is kept, so redirects and mirrors may be anything.
"""

import contextlib
import functools
import http.client
import logging
import queue
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stitching.compute import progress
from stitching.records.files import sha256_of

log = logging.getLogger(__name__)

#: Seconds to wait for a server's first answer, and for each further piece of a file.
CONTACT_S = 10.0
#: Times a download is taken up again without asking, as long as each brought something.
_ATTEMPTS = 5
#: Bytes per read: what a broken connection costs at most.
_BLOCK = 2**16
#: A checksum is remembered for files that have rested this long; a file system's clock may be
#: too coarse to tell two writes within a moment.
_RESTED_S = 2.0

Result = TypeVar("Result")


class DownloadError(ConnectionError):
    """A file could not be had; the message says why."""


class ChecksumError(DownloadError):
    """A file came whole but is not the one that was asked for."""


def remembered_sha256(path: Path) -> str:
    """Return SHA-256 (hex) of a file, remembered while the file stays as it is."""
    stat = path.stat()
    # The time of the last change of any kind, which no copying tool sets back.
    if time.time() - stat.st_ctime < _RESTED_S:
        return sha256_of(path)
    times = stat.st_mtime_ns, stat.st_ctime_ns
    return _remembered_sha256(path, (stat.st_dev, stat.st_ino), stat.st_size, times)


def damaged_part(path: Path) -> str | None:
    """Return the first part of an archive that differs from its checksum; None where none does.

    Files of `torch.save` are archives with a checksum for each part, which `torch.load` does not
    look at. Of other files, and of parts without a checksum, nothing can be said.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            try:
                with archive.open(part) as stream:
                    while stream.read(_BLOCK):
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
                if part.CRC:  # 0 where torch was set to write none
                    return part.filename
    return None


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function that may hang, and return or raise what it does.

    Name resolution cannot be given a time limit, so the call runs in a thread that is left behind
    when it hangs; being a daemon, it does not keep the process alive.

    Raises:
        TimeoutError: It took longer.
    """
    answer: queue.SimpleQueue[Result | Exception] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            answer.put(function())
        except Exception as error:  # raised again in the caller's thread
            answer.put(error)

    threading.Thread(target=attempt, daemon=True, name="network").start()
    try:
        result = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result


@dataclass
class Network:
    """What one user of the network has learnt: which addresses fail, and time spent on that.

    Attributes:
        failures: Reasons by address; such an address is not tried again.
        spent_s: Seconds spent on attempts that found no server.
    """

    failures: dict[str, str] = field(default_factory=dict)
    spent_s: float = 0.0

    def fetch(self, url: str, target: Path, sha256: str, budget_s: float = CONTACT_S) -> str:
        """Download to a path unless the file is there, and return its SHA-256 (hex).

        What has come so far lies beside it as `NAME.partial` and is resumed by the next call. A
        lock keeps two processes from fetching the same file.

        Args:
            url: Address, followed through redirects.
            target: File to write; folders are made.
            sha256: Leading hexadecimal digits of its checksum, at best all 64.
            budget_s: Seconds to find a server in, over all fetches of this object.

        Raises:
            ChecksumError: Another file came; nothing of it is kept.
            DownloadError: It failed, now or earlier; the message is the same.
        """
        if url in self.failures:
            raise DownloadError(self.failures[url])
        try:
            return self._fetch(url, target, sha256, budget_s)
        except (OSError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.failures[url] = reason
            kind = ChecksumError if isinstance(error, ChecksumError) else DownloadError
            raise kind(reason) from error

    def _fetch(self, url: str, target: Path, sha256: str, budget_s: float) -> str:
        from filelock import FileLock, Timeout

        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(target.name + ".lock")
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("another process is downloading %s: waiting for it", target.name)
            lock.acquire()
        try:
            if not target.is_file():  # the other process may have brought it
                self._download(url, target, sha256, budget_s)
            found = remembered_sha256(target)
            if not found.startswith(sha256):
                raise ChecksumError(f"{target} has sha256 {found} instead of {sha256}")
            return found
        finally:
            # Before the release: who waits for it then sees that the name is gone, and locks anew.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()

    def _download(self, url: str, target: Path, sha256: str, budget_s: float) -> None:
        partial = target.with_name(target.name + ".partial")
        for attempt in range(1, _ATTEMPTS + 1):
            before = _size(partial)
            try:
                self._receive(url, partial, target.name, budget_s)
                break
            except (OSError, http.client.HTTPException) as error:
                if _size(partial) == 0:
                    partial.unlink(missing_ok=True)
                if _size(partial) <= before or attempt == _ATTEMPTS:
                    raise
                log.warning("%s broke off after %d bytes: resuming", url, _size(partial))
                log.debug("it broke off with", exc_info=error)
        found = sha256_of(partial)
        if not found.startswith(sha256):
            partial.unlink()
            raise ChecksumError(f"what came has sha256 {found} instead of {sha256}")
        partial.replace(target)

    def _receive(self, url: str, partial: Path, name: str, budget_s: float) -> None:
        """Append to `partial` what it lacks, or write it anew where the server cannot resume."""
        have = _size(partial)
        headers = {"User-Agent": "stitching", **({"Range": f"bytes={have}-"} if have else {})}
        response = self._open(urllib.request.Request(url, headers=headers), budget_s)
        if response is None:  # nothing is left to send: the checksum will tell what we have
            return
        with response:
            # Files and test doubles have no status, and are read from the start.
            if getattr(response, "status", None) != 206:
                have = 0
            length = getattr(response, "headers", {}).get("Content-Length")
            total = None if length is None else have + int(length)
            with (
                partial.open("ab" if have else "wb") as stream,
                progress.bar(total, name, "B", begun=have) as bar,
            ):
                while block := response.read(_BLOCK):
                    stream.write(block)
                    bar.update(len(block))
        if total is not None and _size(partial) < total:
            raise ConnectionError(f"the connection ended after {_size(partial)} of {total} bytes")

    def _open(self, request: urllib.request.Request, budget_s: float) -> Any:
        """Open an address within what is left of the time budget; None where nothing is left."""
        left = budget_s - self.spent_s
        if left <= 0:
            raise TimeoutError(f"earlier attempts found no network in {budget_s:g} s")
        start = time.monotonic()
        try:
            # The time limit also holds for each later read: a stalled download ends.
            return within(left, lambda: urllib.request.urlopen(request, timeout=left))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and request.has_header("Range"):
                return None
            raise DownloadError(f"the server answered {error.code} {error.reason}") from error
        except OSError as error:
            self.spent_s += time.monotonic() - start
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"no answer within {budget_s:g} s") from error
            raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@functools.lru_cache(maxsize=64)
def _remembered_sha256(
    path: Path, inode: tuple[int, int], size: int, times_ns: tuple[int, int]
) -> str:
    del inode, size, times_ns  # they are there to tell one state of the file from another
    return sha256_of(path)

"""Download a file: resumed after a break, verified by its checksum, all or nothing.

A machine without network gets an error within seconds. Redirects and mirrors are not restricted,
because the checksum is.
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
#: Attempts at a download, as long as each brings some bytes.
_ATTEMPTS = 5
#: Bytes per read.
_BLOCK = 2**16
#: Checksums are cached for files unchanged for so many seconds: the clock of a file system may be
#: too coarse to distinguish two writes.
_RESTED_S = 2.0

Result = TypeVar("Result")


class DownloadError(ConnectionError):
    """A file could not be downloaded; the message is the reason."""


class ChecksumError(DownloadError):
    """A complete file has another checksum."""


def remembered_sha256(path: Path) -> str:
    """Return SHA-256 (hex) of a file, cached while the file is unchanged."""
    stat = path.stat()
    # Unlike mtime, ctime is not set back by copying tools.
    if time.time() - stat.st_ctime < _RESTED_S:
        return sha256_of(path)
    times = stat.st_mtime_ns, stat.st_ctime_ns
    return _remembered_sha256(path, (stat.st_dev, stat.st_ino), stat.st_size, times)


def damaged_part(path: Path) -> str | None:
    """Return the first part of a zip archive that differs from its checksum, or None.

    Files of `torch.save` are archives with a checksum for each part, which `torch.load` does not
    verify. Other files, and parts without a checksum, are not checked.
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
                if part.CRC:  # 0: written without checksums
                    return part.filename
    return None


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """Return the result of a function that may hang, with a time limit.

    Name resolution takes no time limit, so the call runs in a daemon thread, which is abandoned
    when it hangs.

    Raises:
        TimeoutError: It took longer.
        Exception: What the function raises.
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
    """Downloads that share a time budget and do not retry failed addresses.

    Attributes:
        failures: Reasons by address.
        spent_s: Seconds spent on attempts that found no server.
    """

    failures: dict[str, str] = field(default_factory=dict)
    spent_s: float = 0.0

    def fetch(self, url: str, target: Path, sha256: str, budget_s: float = CONTACT_S) -> str:
        """Download to a path unless the file exists, and return its SHA-256 (hex).

        An incomplete download is kept as `NAME.partial` and resumed by the next call. A lock
        keeps two processes from fetching the same file.

        Args:
            url: Address; redirects are followed.
            target: File to write; its folder is created.
            sha256: Leading hexadecimal digits of its checksum, at best all 64.
            budget_s: Seconds to find a server in, over all fetches of this object.

        Raises:
            ChecksumError: The file has another checksum; it is removed.
            DownloadError: It failed, now or earlier.
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
            # Before the release: a waiting process then finds the name gone, and locks anew.
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
        """Complete `partial`, from its start where the server cannot resume."""
        have = _size(partial)
        headers = {"User-Agent": "stitching", **({"Range": f"bytes={have}-"} if have else {})}
        response = self._open(urllib.request.Request(url, headers=headers), budget_s)
        if response is None:  # complete; the caller verifies the checksum
            return
        with response:
            # Responses without a status, such as of files, are read from the start.
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
        """Open an address within the time budget; None where no bytes are left to send."""
        left = budget_s - self.spent_s
        if left <= 0:
            raise TimeoutError(f"earlier attempts found no network in {budget_s:g} s")
        start = time.monotonic()
        try:
            # The time limit also holds for each later read.
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
    del inode, size, times_ns  # part of the cache key only
    return sha256_of(path)

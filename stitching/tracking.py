"""Experiment tracking: one run per cell, on Weights & Biases or nowhere.

The files that a cell writes are the record; a tracker holds a copy of them. So a tracker may be
switched off, and a tracker that fails is a warning: it neither stops the computation nor delays
it beyond the stated time. What is wrong with the *arguments* is an error for every tracker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import shutil
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

if TYPE_CHECKING:
    import numpy as np
    import wandb

    Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

__all__ = ["NoTracker", "Scalar", "Tracker", "WandbTracker"]

Scalar = str | int | float | bool | None

log = logging.getLogger(__name__)

_MODES = ("online", "offline", "disabled")

# A run of one cell takes about 0.1 MiB. On a full disk wandb's own logger floods the console.
_MIN_FREE_BYTES = 2 * 2**20


class Tracker:
    """Receives the configuration, numbers, tables and pictures of one cell or training.

    Call `start` once, then `log`, `table` and `image` in any order, and `finish`. As a context
    manager it finishes in every case, and an exception marks the run as failed. After `finish`
    the same object can be started again.
    """

    _running = False

    def start(self, config: Mapping[str, object], name: str, group: str, dir: Path) -> None:
        """Begin a run.

        Args:
            config: Resolved settings as plain nested dicts, lists and scalars.
            name: Readable name, such as "vae-to-nf".
            group: Sweep that the run belongs to.
            dir: Existing folder of the run; a tracker writes nothing outside of it.

        Raises:
            RuntimeError: The previous run of this object is not finished.
            TypeError: The configuration holds something else than plain containers and scalars.
            ValueError: The configuration holds a missing value ("???").
            FileNotFoundError: There is no such folder.
        """
        if self._running:
            raise RuntimeError(f"cannot start run {name!r}: call finish() on the last one first")
        _check_plain(config, "config")
        if not Path(dir).is_dir():
            raise FileNotFoundError(f"the folder of run {name!r} does not exist: {dir}")
        self._start(dict(config), name, group, Path(dir))
        self._running = True

    def log(self, scalars: Mapping[str, Scalar]) -> None:
        """Record one step of named values; the last value of each name is its summary.

        NaN and infinite values, which viewers leave out of charts, appear as "invalid" in the
        summary and as `invalid/NAME` = 1; None appears as "not available".

        Raises:
            TypeError: A value is not a plain str, int, float, bool or None.
        """
        self._require_run()
        for key, value in scalars.items():
            if not isinstance(value, Scalar):
                kind = type(value).__name__
                raise TypeError(f"{key} must be a plain number, str or None, got a {kind}")
        self._log(dict(scalars))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        """Record a table, such as one row per attribute.

        Raises:
            ValueError: A row has another length than `columns`.
        """
        self._require_run()
        for number, row in enumerate(rows):
            if len(row) != len(columns):
                width = len(columns)
                raise ValueError(
                    f"table {name!r} has {width} columns, row {number} has {len(row)}"
                )
        self._table(name, [*columns], [list(row) for row in rows])

    def image(self, name: str, image: Pixels | Path) -> None:
        """Record a picture, pixel by pixel as it is.

        Args:
            name: Key of the picture.
            image: uint8 array of shape (H, W, 3), or the path of a PNG file.

        Raises:
            ValueError: The array is not uint8, or not of shape (H, W, 3).
            FileNotFoundError: There is no such file.
        """
        self._require_run()
        if isinstance(image, Path):
            if not image.is_file():
                raise FileNotFoundError(f"picture {name!r} does not exist: {image}")
        elif image.dtype != "uint8" or image.ndim != 3 or image.shape[2] != 3:
            seen = f"{image.dtype} of shape {image.shape}"
            raise ValueError(f"picture {name!r} must be uint8 of shape (H, W, 3), got {seen}")
        self._image(name, image)

    def finish(self, ok: bool = True) -> None:
        """End the run and mark it as finished or failed. Without a run, do nothing."""
        if self._running:
            self._running = False
            self._finish(ok)

    def _require_run(self) -> None:
        if not self._running:
            raise RuntimeError("no run is active: call start() first")

    def __enter__(self) -> Self:
        """Return the tracker itself; `start` may be called before or inside the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the run, as failed if the block was left by an exception."""
        self.finish(ok=kind is None)

    # What a subclass stores; the arguments are checked, and a run is active.
    def _start(self, config: dict[str, object], name: str, group: str, dir: Path) -> None:
        pass

    def _log(self, scalars: dict[str, Scalar]) -> None:
        pass

    def _table(self, name: str, columns: list[str | int], rows: list[Iterable[Scalar]]) -> None:
        pass

    def _image(self, name: str, image: Pixels | Path) -> None:
        pass

    def _finish(self, ok: bool) -> None:
        pass


class NoTracker(Tracker):
    """Checks its arguments and keeps nothing: the files of the cell are the record."""


class WandbTracker(Tracker):
    """Sends each cell to Weights & Biases as a run of its own.

    Offline runs are written to `DIR/wandb/offline-run-*` and can be sent later with
    `wandb sync DIR/wandb/offline-run-*`. Console output, source code, git state, machine details
    and system statistics are not recorded.

    Online, a server that cannot be used (no key, no answer within `timeout_s`) makes this and
    all later runs of the process offline, with one warning. A run waits at most `timeout_s` for
    the server to answer, as long again for the run to be opened, and as long at the end. A table
    asks the server too, which ends within 20 s (twice wandb's WANDB_HTTP_TIMEOUT).
    """

    # Kept by the class, because each cell builds a tracker: a sweep waits and warns once.
    _server_failed: ClassVar[bool] = False

    def __init__(
        self, project: str, entity: str | None, mode: str, timeout_s: float, tags: Sequence[str]
    ) -> None:
        """Check the options, and that wandb is installed, without importing it.

        Args:
            project: Project the runs appear in.
            entity: User or team that owns the project; None is the account's default.
            mode: "offline", "online" or "disabled". The YAML takes it from the environment
                variable WANDB_MODE where that is set; an override on the command line beats both.
            timeout_s: Longest wait for the server at each point named above, in seconds.
            tags: Labels of every run.

        Raises:
            ModuleNotFoundError: wandb is not installed.
            ValueError: Unknown mode, or a wait that is not positive.
        """
        if mode not in _MODES:
            raise ValueError(
                f"tracker.mode must be one of {', '.join(_MODES)}, got {mode!r}: set it on the "
                "command line or in the environment variable WANDB_MODE"
            )
        if not timeout_s > 0:
            raise ValueError(f"tracker.timeout_s must be > 0 seconds, got {timeout_s}")
        spec = importlib.util.find_spec("wandb")
        # A folder called wandb (where runs are stored) counts as a package without origin.
        if spec is None or spec.origin is None:
            message = "tracker=wandb needs wandb: run `pip install wandb` or use tracker=none"
            raise ModuleNotFoundError(message, name="wandb")
        self.project, self.entity = project, entity
        self.mode = mode
        self.timeout_s = float(timeout_s)
        self.tags = list(tags)
        self._run: wandb.Run | None = None
        self._dir, self._warned = Path(), False

    def _start(self, config: dict[str, object], name: str, group: str, dir: Path) -> None:
        if self.mode == "disabled":
            return
        self._dir, self._warned = dir, False
        with self._survive("start a run"), _private_environment(dir):
            if shutil.disk_usage(dir).free < _MIN_FREE_BYTES:
                raise OSError(f"less than {_MIN_FREE_BYTES // 2**20} MiB are free in {dir}")
            if self.mode == "online" and not WandbTracker._server_failed:
                try:
                    self._check_server()
                    self._run = self._init(config, name, group, "online")
                    return
                except Exception as error:  # whatever the server or the client comes up with
                    WandbTracker._server_failed = True
                    log.warning(
                        "W&B cannot be used online (%s): this run and later ones are written "
                        "offline, to be sent with `wandb sync`",
                        _first_line(error),
                    )
            self._run = self._init(config, name, group, "offline")

    def _init(
        self, config: dict[str, object], name: str, group: str, mode: Literal["online", "offline"]
    ) -> wandb.Run:
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_code=True,
            disable_git=True,
            label_disable=True,
            sagemaker_disable=True,
            symlink=False,
            init_timeout=self.timeout_s,
            finish_timeout=self.timeout_s,
            finish_timeout_raises=True,
            x_service_wait=self.timeout_s,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        return wandb.init(
            project=self.project,
            entity=self.entity,
            name=name,
            group=group,
            id=uuid.uuid4().hex[:12],  # else WANDB_RUN_ID would be the id of every cell
            dir=self._dir,
            config=config,
            tags=self.tags,
            mode=mode,
            reinit="create_new",  # the default hands back a run that is still active
            settings=settings,
        )

    def _log(self, scalars: dict[str, Scalar]) -> None:
        history: dict[str, int | float] = {}
        summary: dict[str, Scalar] = {}
        for key, value in scalars.items():
            if isinstance(value, str | None):
                summary[key] = "not available" if value is None else value
            elif math.isfinite(value):
                history[key] = summary[key] = value
            else:
                history[f"invalid/{key}"] = summary[f"invalid/{key}"] = 1
                summary[key] = "invalid"
        if self._run is not None:
            with self._survive("store numbers"):
                if history:
                    self._run.log(history)
                self._run.summary.update(summary)

    def _table(self, name: str, columns: list[str | int], rows: list[Iterable[Scalar]]) -> None:
        if self._run is None:
            return
        import wandb

        with self._survive("store a table"), _private_environment(self._dir):
            # Mixed types: a degenerate attribute has words where others have numbers.
            table = wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
            self._run.log({name: table})

    def _image(self, name: str, image: Pixels | Path) -> None:
        if self._run is None:
            return
        import wandb
        from PIL import Image

        with self._survive("store a picture"):
            # A PIL image is stored as it is, as PNG; an array might be rescaled.
            with Image.open(image) if isinstance(image, Path) else Image.fromarray(image) as data:
                self._run.log({name: wandb.Image(data)})

    def _finish(self, ok: bool) -> None:
        run, self._run = self._run, None
        if run is not None:
            with self._survive("end the run"):
                run.finish(exit_code=0 if ok else 1)

    @contextlib.contextmanager
    def _survive(self, action: str) -> Iterator[None]:
        """Turn a failure of W&B into a warning, the first of each run, and carry on."""
        try:
            yield
        except Exception as error:  # a full disk, a dead service, a changed API: any of them
            level = logging.DEBUG if self._warned else logging.WARNING
            message = "W&B could not %s, its copy of the run in %s is incomplete: %s"
            log.log(level, message, action, self._dir, _first_line(error))
            self._warned = True

    def _check_server(self) -> None:
        """Raise an error unless there is a key, and a server that answers in time."""
        import wandb

        # This also overrides what an earlier run of the process left in the global settings.
        setup = wandb.setup(wandb.Settings(mode="online", silent=True))
        # Without prompt=False wandb would wait for a human to type a key.
        if not wandb.login(prompt=False, verify=False):
            raise ConnectionError("no API key is configured, run `wandb login`")
        url = setup.settings.base_url
        if not _answers(url, self.timeout_s):
            raise ConnectionError(f"{url} does not answer within {self.timeout_s:g} s")


@contextlib.contextmanager
def _private_environment(dir: Path) -> Iterator[None]:
    """Keep wandb's home-folder files in `dir` and its telemetry off, unless the user set them."""
    wanted = {
        "WANDB_CACHE_DIR": str(dir / "wandb" / "cache"),
        "WANDB_DATA_DIR": str(dir / "wandb" / "data"),
        "WANDB_ERROR_REPORTING": "false",
    }
    added = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def _answers(url: str, timeout_s: float) -> bool:
    """Return whether a server answers at `url`, with any status, through any proxy in use."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=timeout_s).close()
        except urllib.error.HTTPError as answer:
            answer.close()
        except Exception:  # no connection, or nothing that speaks HTTP
            return
        answered.set()

    # In a thread, because resolving a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)  # not answered.wait: a refused connection is known at once
    return answered.is_set()


def _check_plain(value: object, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys of {path} must be str, got {key!r}")
            _check_plain(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_plain(item, f"{path}[{number}]")
    elif not isinstance(value, Scalar):
        raise TypeError(
            f"{path} must be a plain dict, list or scalar, got {type(value).__name__}: convert "
            "with OmegaConf.to_container(config, resolve=True, throw_on_missing=True)"
        )
    elif value == "???":
        raise ValueError(f"{path} has no value ('???'): set it on the command line")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

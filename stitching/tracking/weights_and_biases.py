"""Weights & Biases: runs, their server, and the origin of offline runs."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import string
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from stitching.records.program import command_line
from stitching.records.text import first_line
from stitching.tracking import environment
from stitching.tracking.base import (
    MAX_TAG_LENGTH,
    Scalar,
    Start,
    Tracker,
    check_tags,
)
from stitching.tracking.stored import HEAD_BYTES, file_of, records_in

if TYPE_CHECKING:
    import wandb

    from stitching.tracking.base import Pixels

log = logging.getLogger(__name__)

#: A run of one cell takes about 0.1 MiB. On a full disk wandb's own logger floods the console.
_MIN_FREE_BYTES = 2 * 2**20

#: Pictures of a run: a grid's summary of ten protocols with twenty heatmaps each has 200.
_MAX_PICTURES = 256

#: Pixels of a picture, 4096 x 4096: browsers open it, and no server has to scale it down.
_MAX_PIXELS = 2**24

#: Rows that wandb keeps of a table (`wandb.Table.MAX_ROWS`).
_MAX_ROWS = 10_000

#: Parts of a configuration whose `name` becomes a tag, such as "encoder:vae".
_TAGGED = ("encoder", "decoder", "model", "data", "protocol")

#: Kinds of runs, and length of the identities, that this project sets.
_KINDS, _ID_LENGTH = ("cell", "summary", "train"), 12


class WandbTracker(Tracker):
    """Sends each cell to Weights & Biases as a run of its own.

    Offline runs are written to `DIR/wandb/offline-run-*` and can be sent later with
    `python -m stitching.sync`. Console output, source code, git state, machine details
    and system statistics are not recorded.

    Names of encoder, decoder, data and protocol are tags of a run, such as "encoder:vae", unless
    they are too long. Pictures of more than 4096 x 4096 pixels and those after the 256th are left
    out with a warning that names their file, as shrinking would change their pixels. Rows of a
    table after the 10,000th are left out with a warning.

    Online, a server that cannot be used (no key, no answer within `timeout_s`) makes this and
    all later runs of the process offline, with one warning. A run waits at most `timeout_s` for
    the server to answer, as long again for the run to be opened, and as long at the end. A table
    needs the server, too, for up to 20 s (twice wandb's WANDB_HTTP_TIMEOUT).
    """

    # State of the class, because each cell builds a tracker: a sweep waits and warns once.
    _server_failed: ClassVar[bool] = False
    _absence_warned: ClassVar[bool] = False

    def __init__(
        self,
        project: str,
        entity: str | None,
        mode: str | None,
        timeout_s: float,
        tags: Sequence[str],
    ) -> None:
        """Check the options, without importing wandb.

        Without wandb the mode is "disabled", with one warning per process.

        Args:
            project: Project the runs appear in.
            entity: User or team that owns the project; None is the account's default.
            mode: "offline", "online", "shared" (online, for several processes in one run) or
                "disabled"; W&B also takes "dryrun" for "offline" and "run" for "online". None
                is the value of WANDB_MODE, and "offline" where that is not set.
            timeout_s: Longest wait for the server at each point named above, in seconds.
            tags: Labels of every run: 20 at most, of 1 to 64 characters.

        Raises:
            TypeError: Tags are no list of str.
            ValueError: Unknown mode, a wait that is not positive, or tags out of their limits.
        """
        given = environment.mode() if mode is None else mode
        if given not in environment.MODES:
            raise ValueError(
                f"tracker.mode must be one of {', '.join(environment.MODES)}, got {given!r}: set "
                "it on the command line or in the environment variable WANDB_MODE"
            )
        mode = environment.MODES[given]
        if len(project) > environment.LONGEST_NAME:
            raise ValueError(
                f"tracker.project must have {environment.LONGEST_NAME} characters at most, got "
                f"{len(project)}: {project!r}"
            )
        if not timeout_s > 0:
            raise ValueError(f"tracker.timeout_s must be > 0 seconds, got {timeout_s}")
        check_tags(tags, "tracker.tags")
        check_tags(environment.tags(), "tags in the environment variable WANDB_TAGS")
        self.project, self.entity = project, entity
        self.mode = mode if mode == "disabled" or environment.is_installed() else "disabled"
        if self.mode != mode and not WandbTracker._absence_warned:
            WandbTracker._absence_warned = True
            log.warning(
                "wandb is not installed, so W&B gets no copy of results: run `pip install wandb`, "
                "or use tracker=none"
            )
        self.timeout_s = float(timeout_s)
        self.tags = [*tags, *environment.tags()]
        self._run: wandb.Run | None = None
        self._dir, self._warned, self._pictures = Path(), False, 0

    def _start(self, start: Start) -> None:
        if self.mode == "disabled":
            return
        self._dir, self._warned, self._pictures = start.dir, False, 0
        root = environment.root(start.dir)
        with self._survive("start a run"), environment.private(root):
            root.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(root).free < _MIN_FREE_BYTES:
                raise OSError(f"less than {_MIN_FREE_BYTES // 2**20} MiB are free in {root}")
            if self.mode in ("online", "shared") and not WandbTracker._server_failed:
                try:
                    check_server(self.timeout_s)
                    self._run = self._init(start, root, self.mode)
                    return
                except Exception as error:  # servers and clients raise anything
                    WandbTracker._server_failed = True
                    log.warning(
                        "W&B cannot be used online (%s): this run and later ones are written "
                        "offline, to be sent with `%s` (or `wandb sync`)",
                        *(first_line(error), command_line("sync")),
                    )
            try:
                self._run = self._init(start, root, "offline")
            except Exception:  # wandb's service, a process, has died and would not be restarted
                _stop_service(self.timeout_s)
                self._run = self._init(start, root, "offline")

    @property
    def place(self) -> str | None:
        """Path of the files of the active run, relative to its folder where they are in it."""
        if self._run is None:
            return None
        run, folder = Path(self._run.settings.sync_dir).resolve(), self._dir.resolve()
        return str(run.relative_to(folder) if run.is_relative_to(folder) else run)

    def _init(self, start: Start, root: Path, mode: str) -> wandb.Run:
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
            name=environment.name(start.name),
            group=environment.group(start.group),
            job_type=start.job_type,
            # Always set, else WANDB_RUN_ID would be the id of every cell.
            id=start.id or uuid.uuid4().hex[:12],
            dir=root,
            config=start.config,
            # W&B refuses a run with a tag twice.
            tags=list(dict.fromkeys([*self.tags, *start.tags, *_automatic_tags(start.config)])),
            mode=cast("Literal['online', 'offline', 'shared']", mode),
            reinit="create_new",  # the default hands back a run that is still active
            settings=settings,
        )

    def _store(self, scalars: Mapping[str, Scalar], panels: bool) -> None:
        if self._run is None:
            return
        history: dict[str, int | float] = {}
        summary: dict[str, Scalar] = {}
        for key, value in scalars.items():
            if value is None:
                summary[key] = "not available"
            elif isinstance(value, str):
                summary[key] = value
            elif math.isfinite(value):
                summary[key] = history[key] = value
            else:
                summary[key] = "invalid"
                summary[f"invalid/{key}"] = history[f"invalid/{key}"] = 1
        if panels and history:
            with self._survive("store numbers"):
                self._run.log(history)
        with self._survive("store numbers"):
            self._run.summary.update(summary)

    def _table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        if self._run is None:
            return
        import wandb

        if len(rows) > _MAX_ROWS:
            text = "W&B keeps the first %d of the %d rows of table %s of the run in %s"
            log.warning(text, _MAX_ROWS, len(rows), name, self._dir)
        with self._survive("store a table"), environment.private(self._dir):
            # Mixed types: a degenerate attribute has words where others have numbers.
            table = wandb.Table(
                columns=[*columns],
                data=[list(row) for row in rows[:_MAX_ROWS]],
                allow_mixed_types=True,
            )
            self._run.log({name: table})

    def _image(self, name: str, image: Pixels | Path, size: tuple[int, int]) -> None:
        if self._run is None:
            return
        width, height = size
        self._pictures += 1
        if self._pictures > _MAX_PICTURES or width * height > _MAX_PIXELS:
            source = image if isinstance(image, Path) else "an array"
            log.warning(
                f"W&B gets no copy of picture {name}, {source}: it has {width} x {height} pixels "
                f"and is number {self._pictures} of the run; the limits are {_MAX_PIXELS} pixels "
                f"and {_MAX_PICTURES} pictures"
            )
            return
        import wandb
        from PIL import Image

        with self._survive("store a picture"):
            # A file is copied. A PIL image is stored as it is; an array might be rescaled.
            data = str(image) if isinstance(image, Path) else Image.fromarray(image)
            self._run.log({name: wandb.Image(data)})

    def _finish(self, ok: bool, error: str | None) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        with self._survive("end the run"):
            if error is not None:
                run.summary["error"] = error
            run.finish(exit_code=0 if ok else 1)

    @contextlib.contextmanager
    def _survive(self, action: str) -> Iterator[None]:
        """Turn a failure of W&B into a warning, the first one of each run."""
        try:
            yield
        except Exception as error:  # a full disk, a dead service, a changed API: any of them
            level = logging.DEBUG if self._warned else logging.WARNING
            message = "W&B could not %s, its copy of the run in %s is incomplete: %s"
            log.log(level, message, action, self._dir, first_line(error))
            self._warned = True


def _automatic_tags(config: dict[str, object]) -> list[str]:
    """Return tags such as "encoder:vae" from a configuration, without those too long."""
    tags = []
    for part in _TAGGED:
        node = config.get(part)
        name = node.get("name") if isinstance(node, dict) else None
        tag = f"{part}:{name}"
        if isinstance(name, str) and len(tag) <= MAX_TAG_LENGTH:
            tags.append(tag)
    return tags


def check_server(timeout_s: float) -> str:
    """Return the address of the server, after checks that there is a key and that it answers.

    Args:
        timeout_s: Longest wait, in seconds.

    Raises:
        ConnectionError: No key is configured, or no answer came in time.
    """
    import wandb

    # This also overrides what an earlier run of the process left in the global settings.
    setup = wandb.setup(wandb.Settings(mode="online", silent=True))
    # Without prompt=False wandb would wait for somebody to type a key.
    if not wandb.login(prompt=False, verify=False):
        raise ConnectionError("no API key is configured, run `wandb login`")
    url = str(setup.settings.base_url)
    answered = threading.Event()

    def request() -> None:
        with contextlib.suppress(Exception):  # no connection, or a server without HTTP
            try:
                urllib.request.urlopen(url, timeout=timeout_s).close()
            except urllib.error.HTTPError as answer:  # of any status
                answer.close()
            answered.set()

    _within(timeout_s, request)
    if not answered.is_set():
        raise ConnectionError(f"{url} does not answer within {timeout_s:g} s")
    return url


def _stop_service(timeout_s: float) -> None:
    """End wandb's service process, so that the next run starts another."""
    import wandb

    def stop() -> None:
        with contextlib.suppress(Exception):  # a dead service does not answer
            wandb.teardown()

    _within(timeout_s, stop)
    os.environ.pop("WANDB_SERVICE", None)  # the address of a service of another process


def _within(timeout_s: float, work: Callable[[], None]) -> None:
    """Wait at most `timeout_s` for work that has no reliable time limit, such as name look-ups."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_s)


def is_own(run: Path) -> bool:
    """Return whether an offline run has an identity, a kind and a group as this project sets them.

    Args:
        run: Its folder, `offline-run-*`.
    """
    from wandb.proto import wandb_internal_pb2 as proto

    try:
        with file_of(run).open("rb") as file:
            records = map(proto.Record.FromString, records_in(file.read(HEAD_BYTES)))  # type: ignore[attr-defined]
            found = next(x.run for x in records if x.WhichOneof("record_type") == "run")
    except Exception:  # a damaged file, or another kind of file
        return False
    return (
        run.name.endswith(f"-{found.run_id}")
        and len(found.run_id) == _ID_LENGTH
        and set(found.run_id) <= set(string.hexdigits.lower())
        and found.job_type in _KINDS
        and bool(found.run_group)
    )

"""One cell from Python: `stitch`, and its result."""

import datetime
import html
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stitching.api.calls import Model, calling
from stitching.results.measures import MEASURES, headline

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from stitching.data.base import ImageData
    from stitching.maps import Map
    from stitching.pipeline.cell import Result

#: Parts of a measure's key before the slash.
_MEASURED = ("latent", "image", "geometry", "probe", "factor", "class")


class Images(NamedTuple):
    """Images of the test items, each (n, S, S, 3), uint8.

    Attributes:
        original: The test images.
        own: The decoder's reconstructions from its own latents; None where only files are left,
            which hold one test image.
        stitched: The decoder's images of mapped latents.
    """

    original: NDArray[np.uint8]
    own: NDArray[np.uint8] | None
    stitched: NDArray[np.uint8]

    def __repr__(self) -> str:
        shapes = (f"{k}: {None if x is None else x.shape}" for k, x in self._asdict().items())
        return f"<Images {', '.join(shapes)}>"


@dataclass(frozen=True, eq=False)
class Computed:
    """What a cell has in memory after it has run.

    Attributes:
        result: Of the pipeline.
        settings: All values of its configuration.
        key: Its identity.
    """

    result: "Result"
    settings: dict[str, Any]
    key: str


@dataclass(frozen=True, eq=False)
class Cell:
    """One encoder, one decoder, and what the map between them gives; made by `stitch`.

    Attributes:
        encoder: Name of the model that encodes.
        decoder: Name of the model that decodes.
        metrics: Results and provenance, as in `metrics.json`.
        folder: Of its files; None where it was not saved.
        computed: What is in memory; None where it was read from files.
        keeper: Keeps a temporary folder as long as it exists.
    """

    encoder: str
    decoder: str
    metrics: Mapping[str, Any]
    folder: Path | None = None
    computed: Computed | None = None
    keeper: object = field(default=None, repr=False)

    @cached_property
    def scores(self) -> "pd.DataFrame":
        """One row per measure: its value and the ends of its 95 % interval."""
        import pandas as pd

        found = [
            key
            for key, value in self.metrics.items()
            if key.partition("/")[0] in _MEASURED
            and isinstance(value, float)
            and "." not in key  # ends of intervals, and facts beside a measure
        ]
        order = {measure.key: place for place, measure in enumerate(MEASURES)}
        found.sort(key=lambda key: order.get(key, len(order)))
        ends = ("", ".low", ".high")
        rows = [[self.metrics.get(key + end) for end in ends] for key in found]
        columns = pd.Index(["value", "low", "high"])
        return pd.DataFrame(rows, pd.Index(found, name="measure"), columns, dtype=float)

    @cached_property
    def images(self) -> Images:
        """The test images, reconstructed and stitched; of files, the one that they hold.

        Raises:
            FileNotFoundError: Its files hold no pictures.
        """
        if self.computed is not None:
            pictures = self.computed.result.pictures
            original, own, stitched = (
                x.permute(0, 2, 3, 1).numpy()  # (n, 3, S, S) -> (n, S, S, 3)
                for x in (pictures.original, pictures.own, pictures.stitched)
            )
            return Images(original, own, stitched)
        one, other = (
            np.asarray(self._picture(name))[None] for name in ("picture_original", "picture")
        )
        return Images(one, None, other)

    @cached_property
    def map(self) -> "Map | None":
        """The map, `cell.map.predict(latents)`; of files, None unless they were exported."""
        from stitching.maps import load_map

        if self.computed is not None:
            return self.computed.result.fitted
        path = self._place / "map.safetensors"
        return load_map(path) if path.is_file() else None

    def plot(self) -> "Image.Image":
        """Return test images above their reconstructions and the stitched images."""
        from stitching.report import render_reconstructions

        if self.computed is None:
            return self._picture("reconstructions")
        original, own, stitched = self.images
        assert own is not None
        return render_reconstructions(original, own, stitched)

    def save(self, folder: str | Path) -> Path:
        """Write the files of a cell, as launch.py does; return their folder.

        Raises:
            FileExistsError: The folder has another cell, or files of other origin under the same
                names.
            ValueError: The cell was read from files, which can be copied.
        """
        from stitching.records.status import CellFolder
        from stitching.sweeps.cells import write_config, write_result

        if self.computed is None:
            raise ValueError(f"this cell was read from files: copy its folder, {self.folder}")
        place = Path(folder)
        record = CellFolder(place, new_sweep(place))
        record.require_free("choose another folder")
        require_same(place, self.computed.key)
        record.begin()
        write_config(self.computed.settings, record)
        write_result(self.computed.result, self.computed.settings, record)
        record.mark_done(self.computed.key)
        return place

    def _repr_html_(self) -> str:
        keys = [m.key for m in headline([self.metrics]) if m.key in self.scores.index]
        name = html.escape(f"{self.encoder} to {self.decoder}")
        return f"<p><b>{name}</b></p>{self.scores.loc[keys].to_html(float_format='{:.4g}'.format)}"

    @property
    def _place(self) -> Path:
        assert self.folder is not None, "a cell is in memory or in a folder"
        return self.folder

    def _picture(self, name: str) -> "Image.Image":
        from PIL import Image

        with Image.open(self._place / f"{name}.png") as image:
            return image.convert("RGB")


def stitch(
    encoder: Model,
    decoder: Model,
    data: "ImageData | str",
    *overrides: str,
    map: str = "ridge",
    device: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Cell:
    """Fit a map from one model's latents to another's, decode mapped latents, and measure.

    This is one cell of a grid: settings, numbers, seeds and cached latents are those of
    `launch.py encoder=... decoder=...`.

    Args:
        encoder: A name, or a model of `load_model` or `wrap`.
        decoder: The same; equal models give the decoder's own reconstruction, without a map.
        data: A data set of `load_data`, or its name.
        overrides: Further settings as on the command line, such as `"map.alpha=0.1"`.
        map: Kind of map: an option of `map=`.
        device: Of models given by name, and of maps; None for that of loaded models, or `auto`.
        dtype: The same of the precision, or `float32`.
        options: Settings by name, such as `metric=["rmse"]`, `probe="none"`, `protocol="paper"`,
            `seed=1`, `controls=False`. `launch.py --help` lists all.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A setting is unknown, or two of them do not go together.
        FileNotFoundError: Weights are missing.

    Example:
        >>> import stitching as st
        >>> data = st.load_data("faces", n_train=24, n_test=8, image_size=32)
        >>> small = st.load_model("thumbnail", image_size=32)
        >>> cell = st.stitch(small, "pixels", data, "map.alpha=1", metric=["rmse"], probe="none")
        >>> bool(cell.scores.low["latent/r2"] < cell.scores.value["latent/r2"])
        True
        >>> cell.images.stitched.shape
        (8, 32, 32, 3)
        >>> cell.map.predict(small.encode(data.split("test").images([0, 1]))).shape
        torch.Size([2, 3072])
        >>> cell.plot().size
        (1277, 424)
    """
    from stitching.sweeps.cell_key import cell_identity

    with calling(
        [encoder, decoder], data, overrides, {"map": map} | options, device, dtype
    ) as call:
        source, target = call.parts
        cell, settings = call.cell(source, target), call.plain(source, target)
        key = cell_identity(settings, cell)
        result = cell.run()
    return Cell(source.name, target.name, result.metrics, None, Computed(result, settings, key))


def require_same(folder: Path, key: str) -> None:
    """Raise FileExistsError if a folder holds a finished cell of another identity."""
    from stitching.records.status import holds_finished, read_status

    if holds_finished(folder) and read_status(folder).get("key") != key:
        raise FileExistsError(
            f"{folder} holds another cell, of other settings or functions: choose another folder"
        )


def new_sweep(folder: Path) -> str:
    """Return an id for what one call writes into a folder."""
    started = datetime.datetime.now(datetime.UTC)
    return f"{folder.name}-{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

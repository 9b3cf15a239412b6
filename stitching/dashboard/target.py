"""Contents of a dashboard: a project, a sweep in it, and the measures to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stitching.records.plan import read_manifest
from stitching.results.formats import setting
from stitching.results.grid import grid_of
from stitching.results.measures import MEASURES, Measure
from stitching.results.output import picture_name
from stitching.results.reading import read_cells
from stitching.results.variants import split

#: Sections of a dashboard, by the first parts of their measures' keys.
FAMILIES = {
    "Latents": ("latent",),
    "Images": ("image",),
    "Probes": ("probe", "class", "factor"),
    "Geometry": ("geometry",),
}


@dataclass(frozen=True)
class Target:
    """Contents of a dashboard.

    Attributes:
        project: Project on Weights & Biases.
        entity: User or team; "" for the account's default.
        group: Id of a sweep; None for all of the project.
        measures: Measures to show, in order.
        variants: Folders of protocols and seeds below `report`; empty for a sweep with one.
        setting: Settings that all cells share, in words.
    """

    project: str
    entity: str = ""
    group: str | None = None
    measures: tuple[Measure, ...] = MEASURES
    variants: tuple[str, ...] = ()
    setting: str = ""

    def family(self, name: str) -> list[Measure]:
        """Return the measures of a section."""
        sections = FAMILIES[name]
        return [m for m in self.measures if m.key.partition("/")[0] in sections]

    @property
    def heatmaps(self) -> list[str]:
        """Return the keys of heatmaps in the summary run."""
        files = [picture_name("heatmap", m.key) for m in self.measures if m.pictured]
        names = [file.removeprefix("heatmap_").removesuffix(".png") for file in files]
        return [f"{prefix}heatmap/{name}" for prefix in self._prefixes for name in names]

    @property
    def pictures(self) -> list[str]:
        """Return the keys of grids of pictures in the summary run."""
        return [f"{prefix}grid/pictures" for prefix in self._prefixes]

    @property
    def _prefixes(self) -> list[str]:
        return [f"{variant}/" for variant in self.variants] or [""]


def target_of(folder: Path, project: str, entity: str = "") -> Target:
    """Return the target for the sweep in a folder: its id, and the measures its cells have.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No finished cell in it.
    """
    cells, _ = read_cells(folder)
    grid = grid_of(folder, cells)
    variants = list(split(cells)[0])
    return Target(
        project=project,
        entity=entity,
        group=str(read_manifest(folder).get("group") or cells[0].sweep),
        measures=tuple(grid.measured),
        variants=tuple(v.folder for v in variants) if len(variants) > 1 else (),
        setting=setting(grid.frame),
    )

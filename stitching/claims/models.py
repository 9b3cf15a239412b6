"""The models of a grid: which are trained, which are one training twice, what was changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stitching.results.cell import BASELINES, CellRecord, family
from stitching.results.grid import Grid

#: A checkpoint is named by the images seen when it was due, and written after the next batch.
_LARGEST_BATCH = 1024

#: A second training of `vae` is `vae-2`.
_SECOND = re.compile(r"-\d{1,2}$")

_ROLES = (("encoder", "d_source"), ("decoder", "d_target"))


@dataclass(frozen=True)
class Model:
    """One model of a grid, as its cells describe it.

    Attributes:
        name: Its label in the grid.
        kind: Its family, such as `nf`.
        recipe: Its YAML and the width of its latents: equal for two trainings of one model.
        cut: Whether only the leading components of its latents encode.
        weights: Hash of its weights; None where it is not known.
        seen: Images that it was trained on; None where that is not known.
        checkpoint: Whether it is a state within a training.
        changed: What its training or its architecture has for the sake of stitching.
    """

    name: str
    kind: str
    recipe: tuple[str, float | None]
    cut: bool = False
    weights: str | None = None
    seen: float | None = None
    checkpoint: bool = False
    changed: tuple[str, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether it is a generative model, with all of its latents."""
        return self.kind not in BASELINES and not self.cut

    def same_weights(self, other: Model) -> bool:
        """Whether both have the same weights, as far as that is known."""
        return self.weights is not None and self.weights == other.weights

    def retrained(self, other: Model) -> bool:
        """Whether the two are different trainings of one model."""
        return (
            self.name != other.name
            and self.recipe == other.recipe
            and not self.same_weights(other)
        )

    def before(self, other: Model) -> bool:
        """Whether it is an earlier state of the same model, such as `nf-5000` of `nf-20000`."""
        if self.seen is None or other.seen is None or not self.checkpoint:
            return False
        alike = (self.kind, self.recipe[1]) == (other.kind, other.recipe[1])
        return alike and self.seen < other.seen


def models_of(grid: Grid) -> dict[str, Model]:
    """Return all models of a grid by name, in order of appearance."""
    names = dict.fromkeys([*grid.encoders, *grid.decoders])
    found = {name: Model(name, grid.kinds[name], (family(name), None)) for name in names}
    for cell in grid.cells.values():
        for (role, width), name in zip(_ROLES, cell.pair, strict=True):
            if found[name].recipe[1] is None:
                found[name] = _model(cell, role, width, name, grid.kinds[name])
    return {name: replace(x, cut=_is_cut(x, found.values())) for name, x in found.items()}


def _is_cut(model: Model, others: Iterable[Model]) -> bool:
    """Whether a model that has an option `width` is a cut one, and not another network.

    The option is also that of networks, such as `nf`, whose weights then differ.
    """
    wider = [x for x in others if (x.recipe[1] or 0) > (model.recipe[1] or 0)]
    return model.cut and (model.weights is None or any(model.same_weights(x) for x in wider))


def _model(cell: CellRecord, role: str, width: str, name: str, kind: str) -> Model:
    weights = cell.values.get(f"weights/{role}")
    seen = cell.number(f"weights/{role}_images_seen")
    yaml = str(cell.values.get(f"{role}/model") or family(name))
    return Model(
        name,
        kind,
        (_SECOND.sub("", yaml), cell.number(width)),
        cut=kind not in BASELINES and cell.values.get(f"{role}/width") is not None,
        weights=None if weights is None else str(weights),
        seen=seen,
        checkpoint=_is_checkpoint(name, seen),
        changed=tuple(_changed(cell, role)),
    )


def _is_checkpoint(name: str, seen: float | None) -> bool:
    """Whether a name is that of a checkpoint: `nf[checkpoint=5000]`, or `nf-5000`, not `nf-2`.

    The second form ends in about as many images as the model has seen.
    """
    if re.search(r"[\[,]checkpoint=\d", name):
        return True
    number = re.search(r"-(\d+)$", name)
    return number is not None and seen is not None and 0 <= seen - int(number[1]) < _LARGEST_BATCH


def _changed(cell: CellRecord, role: str) -> Iterable[str]:
    """Yield what was added to a model: by its weight file, or where that is silent by its YAML."""
    node = cell.config.get(role)
    options = node if isinstance(node, dict) else {}
    training = options.get("training") or {}
    objective = str(cell.values.get(f"weights/{role}_objective") or "")
    if objective and objective != "own":
        yield f"objective: {objective}"
    elif not objective:
        if training.get("inverse"):
            yield "training.inverse, a penalty on a steep inverse"
        if training.get("lpips"):
            yield "training.lpips, LPIPS in the objective"
    if options.get("linear_channels"):
        yield "linear_channels, a linear path from pixels to latents and back"


def changes(models: Iterable[Model]) -> list[str]:
    """Return one line for each trained model that was changed for the sake of stitching."""
    return [f"{x.name}: {'; '.join(x.changed)}" for x in models if x.trained and x.changed]

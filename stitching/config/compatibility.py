"""Checks that models, data, map, metrics and protocol fit together, before any long work.

Each raises a ValueError that names the two that do not fit, and what to change.
"""

import copy
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stitching.compute.notes import log_once
from stitching.records.program import command_line
from stitching.records.words import nearest

if TYPE_CHECKING:
    from stitching.data.base import ImageData
    from stitching.maps import Map
    from stitching.models.base import GenerativeModel
    from stitching.pipeline.encoding import FrozenModel
    from stitching.pipeline.protocol import Protocol

log = logging.getLogger(__name__)


def check_role(role: str, model: "GenerativeModel", data: "ImageData") -> None:
    """Check that a model can be used as `encoder`, `decoder` or `via`, which also encodes.

    A model whose latents are labels gets those of the data.
    """
    from stitching.data.drawn import DrawingModel, Drawn, check_drew
    from stitching.data.label_columns import LabelModel, set_labels

    if role == "decoder" and not model.can_decode:
        raise ValueError(f"decoder={model.name}: this model cannot decode; use it as encoder")
    if isinstance(model, DrawingModel):
        check_drew(role, model, data)
    elif isinstance(model, LabelModel):
        set_labels(role, model, data)
    elif role != "decoder" and not model.can_encode:
        raise ValueError(f"{role}={model.name}: this model cannot encode; use it as decoder")
    if model.needs_fit:
        model.check_fit(data.n_train)
    if model.image_size != data.image_size:
        raise ValueError(
            f"{role}={model.name} takes images of {model.image_size} pixels but "
            f"data.image_size={data.image_size}: make them equal"
        )
    trained_on = model.card.get("data")
    # Drawn images resemble those that the model that drew them was trained on.
    kind = data.model.card.get("data") if isinstance(data, Drawn) else data.name
    if trained_on and trained_on != kind:
        log.warning(
            "%s=%s was trained on %s, the data are %s: train it with `%s` and give zoo=FOLDER",
            *(role, model.name, trained_on, data.name),
            command_line("train", f"model={model.name}", f"data={data.name}"),
        )


def check_pair(template: "Map", encoder: "FrozenModel", decoder: "FrozenModel") -> None:
    """Check that the map can connect two spaces, both ways, and that their names differ.

    Raises:
        ValueError: Shapes that the map cannot connect, `map=identity` between spaces that differ,
            or one name for two models.
    """
    names = encoder.model.name, decoder.model.name
    if names[0] == names[1]:
        apart = _differing(encoder.identity(decoding=True), decoder.identity(decoding=True))
        if apart:
            raise ValueError(
                f"encoder and decoder are both called {names[0]}, but differ in "
                f"{', '.join(apart)}: leave encoder.name and decoder.name out, or make them differ"
            )
    apart = _differing(encoder.identity(), decoder.identity())
    if not apart:
        return
    if template.name == "identity":
        raise ValueError(
            f"map=identity is for one space, but encoder={names[0]} and decoder={names[1]} "
            f"differ in {', '.join(apart)}: use another map, or make them equal"
        )
    copy.deepcopy(template).set_shapes(encoder.latent_shape, decoder.latent_shape)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return what two identities of models differ in, options by name and value."""
    options = one["options"], other["options"]
    if options[0].get("_target_") != options[1].get("_target_"):
        return ["their class of model"]
    found = [
        f"{key} ({options[0].get(key)} and {options[1].get(key)})"
        for key in dict.fromkeys([*options[0], *options[1]])
        if options[0].get(key) != options[1].get(key)
    ]
    rest = [key for key in dict.fromkeys([*one, *other]) if key != "options"]
    # Other options imply other weights and other code: naming the options suffices.
    return found or [key for key in rest if one.get(key) != other.get(key)]


def check_rank_curve(wanted: Any, template: "Map") -> str | list[int] | None:
    """Return ranks, "auto" or None; raise if the map has no rank curve."""
    from stitching.maps import SpectralMap

    if wanted is None:
        return None
    ranks = wanted if isinstance(wanted, list) else []
    if wanted != "auto" and not (ranks and all(type(k) is int and k >= 0 for k in ranks)):
        raise ValueError(
            f"rank_curve={wanted!r}: use null, auto, or a list of ranks such as [1,4,16,64]"
        )
    if not isinstance(template, SpectralMap) or getattr(template, "alpha_per_target", False):
        raise ValueError(
            f"rank_curve needs map=ridge, ols or reduced_rank with one penalty for all targets, "
            f"got map={template.name}: set rank_curve=null, or change the map"
        )
    return ranks or "auto"


def check_test_images(protocol: "Protocol", data: "ImageData", picture: int = 0) -> None:
    """Check that there are the test images to measure on, and that the picture is one of them."""
    wanted = protocol.test_images
    if wanted is not None and wanted > data.n_test:
        raise ValueError(
            f"protocol.test_images={wanted}, but data.n_test={data.n_test}: raise data.n_test, or "
            "set protocol.test_images=null"
        )
    measured = data.n_test if wanted is None else wanted
    if not 0 <= picture < measured:
        raise ValueError(
            f"picture={picture} is not a test image: use 0 to {measured - 1}, as {measured} are "
            "measured on (data.n_test, protocol.test_images)"
        )


def check_measures(wanted: Sequence[str], metrics: Collection[str]) -> None:
    """Check the keys of a protocol's measures.

    Args:
        wanted: The keys.
        metrics: Names of the image metrics of the run, a user's own included.

    Raises:
        ValueError: A key is unknown, or there is none.
    """
    from stitching.results.measures import MEASURES

    known = [*(measure.key for measure in MEASURES), *(f"image/{name}" for name in metrics)]
    if not wanted:
        raise ValueError("protocol.measures is empty: name at least one, such as latent/r2")
    for key in wanted:
        if key not in known:
            raise ValueError(
                f"protocol.measures has {key!r}, which is no measure{nearest(key, known)}"
            )


def check_penalty(protocol: "Protocol", template: "Map") -> None:
    """Check that the map has a penalty if the protocol picks penalties by hand."""
    if protocol.penalty == "by_hand" and template.name != "ridge":
        raise ValueError(
            f"protocol.penalty=by_hand is for map=ridge, got map={template.name}: set "
            "protocol.penalty=chosen, or map=ridge"
        )
    if protocol.penalty == "by_hand" and getattr(template, "selection", None) == "images":
        raise ValueError(
            "protocol.penalty=by_hand leaves nothing for map.selection=images to choose: set "
            "protocol.penalty=chosen, or map.selection=gcv"
        )


def warn_of_low_precision(model: "GenerativeModel", dtype: str) -> None:
    """Warn if the weights of a model make it compute in fewer digits than `dtype`."""
    held = {v.dtype for v in model.parameters() if v.is_floating_point() and v.itemsize < 4}
    if held and dtype != "float64":
        log_once(
            log,
            logging.WARNING,
            "model %s holds weights in %s and computes in them, whatever dtype=%s says: convert "
            "them with .float() in its constructor for dtype=float32",
            *(model.name, ", ".join(sorted(map(str, held))).replace("torch.", ""), dtype),
        )


def warn_of_crop(name: str, trained: str | None, used: str | None) -> None:
    """Warn if a model was trained on faces framed unlike those of the data."""
    if trained and used and trained != used:
        log_once(
            log,
            logging.WARNING,
            "%s was trained on images cropped as %s, but data.crop=%s: a grid shows one crop to "
            "all of its models, so this one sees faces framed unlike those it was trained on",
            *(name, trained, used),
        )

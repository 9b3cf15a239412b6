"""Check a model against the contract of the pipeline: `python -m stitching.check encoder=nf`.

Exit code 0: the contract is kept (there may be warnings), 1: it is broken, 2: wrong usage.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from stitching import config

if TYPE_CHECKING:
    from torch import Tensor

    from stitching.check.findings import Finding
    from stitching.data.base import ImageData, ImageSet
    from stitching.models.base import GenerativeModel
    from stitching.weights.containers import WeightFile

log = logging.getLogger(__name__)

BROKEN, WRONG_USAGE = 1, 2

#: Entries of a card that are not shown.
_LONG = ("architecture", "values_sha256")

#: Whether Hydra has called `main`; before that its own exit code means wrong usage.
_composed = False


def run(composed: config.Composed) -> Iterator["Finding"]:
    """Build the model, and yield the findings of its checks.

    Raises:
        ValueError: An option is wrong or two of them do not go together.
        FileNotFoundError: Data or weights are missing.
    """
    from stitching.check.model import check_model
    from stitching.compute.seeding import set_numerics
    from stitching.data.label_columns import LabelModel, set_labels
    from stitching.pipeline.encoding import FrozenModel, fit_frozen_model
    from stitching.pipeline.known import drew

    plain, node = composed.settings, composed.models["encoder"].node
    n_images, dtype = plain["n_images"], plain["dtype"]
    if n_images < 2:
        raise ValueError(f"n_images must be >= 2, got {n_images}")
    data = config.build_data(plain["data"], plain["cache"])
    data.check()
    model = config.build_model(node, plain["device"], dtype)
    if model.image_size != data.image_size:
        raise ValueError(
            f"encoder={model.name} takes images of {model.image_size} pixels but "
            f"data.image_size={data.image_size}: make them equal"
        )
    set_numerics(plain["seed"])
    if isinstance(model, LabelModel):
        set_labels("encoder", model, data)
    if model.needs_fit:
        model.check_fit(data.n_train)
        frozen, cache = FrozenModel(model, model.options, dtype), config.open_cache(plain["cache"])
        fit_frozen_model(frozen, data.split("train"), cache, plain["batch_size"])
    images = data.split("test")
    images = images.subset(min(n_images, len(images)))
    x = images.images(slice(None))
    print(
        f"{model.name} ({type(model).__name__}) on {len(x)} test images of {data.name}, "
        f"{model.image_size} x {model.image_size}, on {model.device} in {dtype}",
        flush=True,
    )
    file = None if node.get("init_seed") is not None else config.weight_file(node)
    training = node.get("training") or {}
    averages = bool(training.get("ema") or training.get("ema_images"))
    yield from _weights(model, file, averages, data)
    z, known, trained = _latents(model, images), drew(model, images), file is not None
    yield from check_model(model, x, z, known, trained or model.needs_fit)
    yield from _crops(model, node, plain, data, x)


def _latents(model: "GenerativeModel", images: "ImageSet") -> "Tensor":
    """Latents for a model that cannot encode: known ones, labels, or draws from its prior."""
    from stitching.compute.seeding import item_noise
    from stitching.data.drawn import DrawingModel, DrawnSet
    from stitching.data.label_columns import LabelModel, label_columns

    if isinstance(model, LabelModel):
        return model.label_latents(label_columns(images))
    if isinstance(model, DrawingModel):
        if isinstance(images, DrawnSet):
            return model.known_latents(images.seed, images.indices)
        return model.known_latents(0, range(len(images)))
    return item_noise(0, range(len(images)), (model.latent_dim,))


def _weights(
    model: "GenerativeModel", file: "WeightFile | None", averages: bool, data: "ImageData"
) -> Iterator["Finding"]:
    """Identify the weights, and check that they are the averaged ones of their file."""
    from stitching.check.findings import Finding, Level, guarded
    from stitching.check.weight_sets import weights_in_use

    if model.weights_hash is None:
        yield Finding("weights", Level.OK, "the model has none")
        return
    card = ", ".join(f"{k} {v}" for k, v in model.card.items() if k not in _LONG)
    what = f"SHA-256 {model.weights_hash[:16]}..."
    trained_on = model.card.get("data")
    if not model.learned:
        yield Finding("weights", Level.OK, f"{what}, fixed: nothing in the model is learned")
    elif file is None and not model.needs_fit:
        yield Finding("weights", Level.WARNING, f"{what} of an untrained model: no weight file")
    elif trained_on and trained_on != data.name:
        text = f"{what}, {card}: trained on {trained_on}, the data are {data.name}"
        yield Finding("weights", Level.WARNING, text)
    else:
        yield Finding("weights", Level.OK, f"{what}, {card or 'a file without a card'}")
    if file is not None:
        yield guarded("averaged weights", lambda: weights_in_use(model, file, averages))


def _crops(
    model: "GenerativeModel",
    node: dict[str, Any],
    plain: dict[str, Any],
    data: "ImageData",
    x: "Tensor",
) -> Iterator["Finding"]:
    """Compare the same images under each crop of the data set, if it has crops."""
    from stitching.check import ranges
    from stitching.check.findings import guarded
    from stitching.data.celeba import CROPS, CelebA

    if not isinstance(data, CelebA) or not (model.can_encode and model.can_decode):
        return
    errors = {}
    for crop in CROPS:
        cropped = config.build_data(plain["data"] | {"crop": crop}, plain["cache"])
        y = cropped.split("test").images(slice(0, len(x)))
        errors[crop] = ranges.detail_error(model, y)
    trained = node.get("trained_crop")
    yield guarded("crop", lambda: ranges.crops(errors, data.crop, trained))


@hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="check")
def main(cfg: DictConfig) -> None:
    """Check the model that Hydra composed, and exit with the code."""
    global _composed
    _composed = True
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        log.error("stitching.check looks at one model: leave out -m, hydra.mode and experiment=")
        sys.exit(WRONG_USAGE)
    levels: Counter[str] = Counter()
    try:
        for finding in run(config.resolve(cfg, "check")):
            print(finding, flush=True)
            levels[finding.level.value] += 1
    except config.USER_ERRORS as error:
        log.error("%s", error)
        sys.exit(WRONG_USAGE)
    except Exception:  # a user's model may raise anything while it is built
        log.exception("the model cannot be checked")
        sys.exit(WRONG_USAGE)
    failed = levels["FAIL"]
    print(f"{failed} failed, {levels['warning']} warnings, {levels['ok']} ok")
    sys.exit(BROKEN if failed else 0)


if __name__ == "__main__":
    config.register_roles()
    try:
        main()
    except SystemExit as end:
        if end.code and not _composed:
            sys.exit(WRONG_USAGE)
        raise

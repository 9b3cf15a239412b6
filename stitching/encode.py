"""Fill the cache ahead of a sweep: `python -m stitching.encode models=[vae,nf] data=celeba`.

The entries are those of cells with the same settings. With `shards=8 shard=3` one of eight parts
is encoded, so that eight machines share a large data set, each reading its own images only.
Existing entries are not encoded again: repeat a run that was stopped.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from stitching import config
from stitching.compute import devices

if TYPE_CHECKING:
    from stitching.data.base import ImageData, ImageSet
    from stitching.pipeline.cache import Cache
    from stitching.pipeline.encoding import FrozenModel
    from stitching.pipeline.protocol import Protocol

log = logging.getLogger(__name__)

#: Splits that cells encode.
SPLITS = ("train", "test")


def shard_places(n: int, shards: int, shard: int, block: int) -> range:
    """Return the places of a shard among n items; the shards cover all places, in order.

    No block is in two shards. With fewer blocks than shards, some shards are empty.

    Args:
        n: Number of items.
        shards: Number of shards.
        shard: Number of the shard, from 0.
        block: Items per block.

    Raises:
        ValueError: shards < 1, or there is no such shard.
    """
    if type(shards) is not int or shards < 1:
        raise ValueError(f"shards must be a whole number >= 1, got {shards!r}")
    if type(shard) is not int or not 0 <= shard < shards:
        raise ValueError(f"shard={shard!r}: with shards={shards} use 0 to {shards - 1}")
    blocks = -(-n // block)
    start, stop = (block * (blocks * k // shards) for k in (shard, shard + 1))
    return range(min(start, n), min(stop, n))


def run(composed: config.Composed) -> Iterator[str]:
    """Encode as configured; yield a line per model and split once it is done.

    Raises:
        ValueError: An option is wrong, two of them do not go together, or a latent is not finite.
        FileNotFoundError: Data or weights are missing.
    """
    from stitching.compute.seeding import set_numerics
    from stitching.config.compatibility import check_test_images
    from stitching.pipeline.encoding import BLOCK_IMAGES, fit_frozen_model

    plain = composed.settings
    splits = plain["splits"]
    if not isinstance(splits, list) or not splits or not set(splits) <= set(SPLITS):
        raise ValueError(f"splits={splits}: use a list of {' and '.join(SPLITS)}")
    if plain["batch_size"] < 1:
        raise ValueError(f"batch_size must be >= 1, got {plain['batch_size']}")
    if plain["reconstructions"] and plain["shards"] != 1:
        raise ValueError(
            "reconstructions=true needs the latents of all shards: encode the shards first, then "
            "run this once more with shards=1 shard=0"
        )
    shard_places(1, plain["shards"], plain["shard"], BLOCK_IMAGES)  # before anything long
    data = config.build_data(plain["data"], plain["cache"])
    protocol = config.build_protocol(plain["protocol"])
    check_test_images(protocol, data)
    data.check()
    frozen_models = _frozen_models(composed, data, protocol)
    cache = config.open_cache(plain["cache"])
    set_numerics(plain["seed"])
    for frozen in frozen_models:
        # This step alone needs all images of `train`; other shards wait for its result.
        fit_frozen_model(frozen, data.split("train"), cache, plain["batch_size"])
        for split in splits:
            images = data.split(split)
            if split == "test" and protocol.test_images is not None:
                images = images.subset(protocol.test_images)
            places = shard_places(len(images), plain["shards"], plain["shard"], BLOCK_IMAGES)
            finite = protocol.invalid == "fail"
            yield _encode(frozen, images, places, cache, plain["batch_size"], finite)
            if split == "test" and plain["reconstructions"] and frozen.model.can_decode:
                yield _reconstruct(frozen, images, cache, plain["batch_size"], finite)


def _frozen_models(
    composed: config.Composed, data: "ImageData", protocol: "Protocol"
) -> "list[FrozenModel]":
    """Build and check all models before the first image is encoded."""
    from stitching.config.compatibility import check_role
    from stitching.config.compose import job_number
    from stitching.pipeline.encoding import FrozenModel

    settings = composed.settings
    device = devices.pick_device(settings["device"], job_number())
    dtype = devices.check_dtype(settings["dtype"])
    devices.warn_of_slow_dtype(device, dtype)
    drawn_with = settings["seed"] if protocol.latents == "sampled" else None
    frozen_models = []
    for chosen in composed.models.values():
        model = config.build_model(chosen.node, str(device), dtype, chosen.role)
        check_role(chosen.role, model, data)
        frozen_models.append(FrozenModel(model, model.options, dtype, drawn_with))
    return frozen_models


def _encode(
    frozen: "FrozenModel",
    images: "ImageSet",
    places: Sequence[int],
    cache: "Cache",
    batch_size: int,
    finite: bool,
) -> str:
    from stitching.pipeline.encoding import BLOCK_IMAGES, latent_rows
    from stitching.pipeline.known import drew

    what = f"{frozen.model.name} {images.split}"
    if not places:
        blocks = -(-len(images) // BLOCK_IMAGES)
        return f"{what}: nothing for this shard, there are more shards than blocks ({blocks})"
    part = images.part(places[0], places[-1] + 1)
    started = time.perf_counter()
    # Read by rows, so that a part may be larger than the memory.
    encoded = latent_rows(frozen, part, cache, batch_size, finite)[1]
    rate = encoded / (time.perf_counter() - started)
    what += f", images {places[0]} to {places[-1]} of {len(images)}"
    if drew(frozen.model, images):
        return f"{what}: known, as it drew them"
    there, done = (-(-n // BLOCK_IMAGES) for n in (len(part) - encoded, encoded))
    speed = f", {rate:.1f} images/s" if encoded else ""
    return f"{what}: blocks encoded {done}, there already {there}{speed}"


def _reconstruct(
    frozen: "FrozenModel", images: "ImageSet", cache: "Cache", batch_size: int, finite: bool
) -> str:
    from stitching.pipeline.encoding import encode_split, reconstruct_split

    started = time.perf_counter()
    latents, _ = encode_split(frozen, images, cache, batch_size, finite)
    reconstruct_split(frozen, images, latents, cache, batch_size)
    took = time.perf_counter() - started
    return f"{frozen.model.name} {images.split}: {len(images)} reconstructions, {took:.1f} s"


@hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="encode")
def main(cfg: DictConfig) -> None:
    """Encode what Hydra composed; exit with code 1 if that is not possible."""
    try:
        for line in run(config.resolve(cfg, "encode")):
            print(line, flush=True)
    except config.USER_ERRORS as error:
        log.error("%s", error)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # the other shards go on
        sys.exit(1)


if __name__ == "__main__":
    config.register_roles()
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; what was encoded stays", file=sys.stderr)
        sys.exit(130)

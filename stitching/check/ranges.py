"""Checks of the range of pixels, the crop and the quality of reconstructions."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from stitching.check.findings import Finding, Level
from stitching.check.spying import recorded, wrapped
from stitching.compute.images import rescale
from stitching.models.base import GenerativeModel

#: Ranges that networks of the field are trained on.
USUAL = {"[0, 1]": (0.0, 1.0), "[-1, 1]": (-1.0, 1.0), "[-0.5, 0.5]": (-0.5, 0.5)}

#: Mean and standard deviation of ImageNet's pixels by channel, as classifiers normalise them.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: Another range or crop is reported when the error under it is below this share: some models have
#: an error a tenth higher under another range, none of those tested a lower one.
CLEARLY, PERHAPS = 0.8, 0.9

#: Half a level of 8-bit pixels; smaller errors do not depend on the range.
TINY = 0.5 / 255

#: Samples drawn from a prior.
_SAMPLES = 8

#: Shares of raw values outside the declared range: few where a decoder without a final activation
#: overshoots, half where [-1, 1] is taken for [0, 1].
_SOME, _MANY = 0.05, 0.2


def rmse(first: Tensor, second: Tensor) -> float:
    """Root mean squared difference over all values."""
    return math.sqrt(float((first.double().cpu() - second.double().cpu()).square().mean()))


def round_trip(model: GenerativeModel, x: Tensor) -> Tensor:
    """Return decoded latents of images, (N, 3, S, S) in [0, 1]."""
    return model.decode(model.encode(x)).cpu()


def value_range(model: GenerativeModel, x: Tensor, z: Tensor, trained: bool = True) -> Finding:
    """Compare the decoder's raw output on latents z with the declared range and with images x."""
    low, high = model.value_range
    with recorded(model, "_decode") as seen:
        model.decode(z)
    raw = torch.cat([out.flatten() for _, out in seen]).double().cpu()
    check, raw = "value range", raw[raw.isfinite()]
    if len(raw) == 0:
        return Finding(check, Level.FAIL, "the decoder's raw output has no finite value")
    ends = _ends(raw)
    images = rescale(x.double(), (0.0, 1.0), (low, high)).flatten().cpu()
    wanted = _ends(images)
    margin = 0.05 * (high - low)
    outside = float(((raw < low - margin) | (raw > high + margin)).double().mean())
    share = (ends[1] - ends[0]) / max(wanted[1] - wanted[0], 1e-12)
    text = (
        f"declared [{low:g}, {high:g}]; images span {wanted[0]:.2f} to {wanted[1]:.2f} of it, the "
        f"decoder's raw output {ends[0]:.2f} to {ends[1]:.2f} (1 % to 99 %), {outside:.0%} outside"
    )
    if trained and outside > _MANY:
        return Finding(check, Level.FAIL, f"{text}: declare the range the network was trained on")
    if outside > _SOME or not 0.5 <= share <= 2:
        text += ": compare with the range the network was trained on"
        return Finding(check, Level.WARNING, text)
    return Finding(check, Level.OK, text)


def samples(model: GenerativeModel, x: Tensor) -> Finding:
    """Compare the raw range of samples with that of images, for models with exact round trips."""
    check, (low, high) = "samples", model.value_range
    try:
        with recorded(model, "_decode") as seen:
            model.sample(_SAMPLES)
    except TypeError as error:
        return Finding(check, Level.SKIPPED, str(error))
    raw = _ends(torch.cat([out.flatten() for _, out in seen]).double().cpu())
    wanted = _ends(rescale(x.double(), (0.0, 1.0), (low, high)).flatten().cpu())
    middle = ((raw[0] + raw[1]) / 2 - low) / (high - low)
    share = (raw[1] - raw[0]) / max(wanted[1] - wanted[0], 1e-12)
    text = (
        f"raw samples span {raw[0]:.2f} to {raw[1]:.2f} (1 % to 99 %), images {wanted[0]:.2f} to "
        f"{wanted[1]:.2f} of the declared [{low:g}, {high:g}]"
    )
    if not 0.6 <= share <= 1.7 or not 0.25 <= middle <= 0.75:
        text += ": untrained, or another range than the network was trained on"
        return Finding(check, Level.WARNING, text)
    return Finding(check, Level.OK, text)


def quality(x: Tensor, y: Tensor) -> Finding:
    """Report the error of a round trip, against that of the mean image."""
    error, floor = rmse(x, y), rmse(x, x.mean(0, keepdim=True))
    psnr = f"{-20 * math.log10(error):.1f} dB" if error > 0 else "exact"
    text = f"RMSE {error:.4f}, PSNR {psnr}; the mean image has RMSE {floor:.4f}"
    if error >= floor > 0:
        text += ": no better than that, so untrained, or other weights, range or images"
        return Finding("round trip", Level.WARNING, text)
    return Finding("round trip", Level.OK, text)


def other_ranges(model: GenerativeModel, x: Tensor) -> Finding:
    """Compare the round trip under the declared range with that under other usual ranges."""
    check, declared = "other ranges", model.value_range
    error, floor = rmse(x, round_trip(model, x)), rmse(x, x.mean(0, keepdim=True))
    if error <= TINY:
        # Such as a flow, which is exact under any range.
        return Finding(check, Level.SKIPPED, f"exact, RMSE {error:.1e}, as under any range")
    errors = {
        name: _error_in(model, x, *_affine(*usual))
        for name, usual in USUAL.items()
        if usual != declared
    }
    errors["ImageNet mean/std"] = _error_in(model, x, *map(_per_channel, IMAGENET))
    best = min(errors, key=lambda name: errors[name])
    # Shares, because these images are fewer than those of the finding `round trip`.
    listed = ", ".join(f"{value / error:.3g} under {name}" for name, value in errors.items())
    text = f"error relative to that as declared: {listed}"
    # A range that is no better than the mean image is no candidate.
    if errors[best] >= min(PERHAPS * error, CLEARLY * floor):
        return Finding(check, Level.OK, text)
    remedy = (
        f"set value_range to {best}"
        if best in USUAL
        else "declare [0, 1] and normalise by mean and std inside _encode and _decode"
    )
    if errors[best] < CLEARLY * error:
        return Finding(check, Level.FAIL, f"{text}: {best} is clearly better, {remedy}")
    text = f"{text}: {best} is better, if that is what the network was trained on {remedy}"
    return Finding(check, Level.WARNING, text)


def detail_error(model: GenerativeModel, x: Tensor) -> float:
    """Return the RMSE of the round trip, relative to that of a thumbnail of as many values.

    The ratio corrects for closely cropped images being smoother, and so easier for any model.
    """
    side = min(max(math.isqrt(model.latent_dim // 3), 1), model.image_size // 2)
    small = functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    thumbnail = functional.interpolate(small, size=x.shape[-2:], mode="bilinear")
    return rmse(x, round_trip(model, x)) / max(rmse(x, thumbnail), 1e-12)


def crops(errors: Mapping[str, float], used: str, trained: str | None) -> Finding:
    """Compare round trips under the crops a data set offers, and the crop of the training.

    Args:
        errors: `detail_error` by crop.
        used: The crop in use, one of them.
        trained: `trained_crop` of the model's YAML, beginning with the crop's name.
    """
    check = "crop"
    listed = ", ".join(f"{name} {value:.3f}" for name, value in errors.items())
    text = f"{used}; error of the round trip, against that of thumbnails: {listed}"
    if trained is not None and trained.partition(":")[0].strip() != used:
        text += f": the model was trained on {trained}, set data.crop to it"
        return Finding(check, Level.WARNING, text)
    best = min(errors, key=lambda name: errors[name])
    if errors[used] > TINY and errors[best] < CLEARLY * errors[used]:
        text += f": clearly better with data.crop={best}"
        return Finding(check, Level.WARNING, text)
    return Finding(check, Level.OK, text)


def _error_in(model: GenerativeModel, x: Tensor, shift: Tensor, scale: Tensor) -> float:
    """Error of a round trip if the network's range is (x - shift) / scale."""

    def encode(method: Callable[[Tensor], Tensor], unit: Tensor) -> Tensor:
        return method(((unit.double() - shift.to(unit.device)) / scale.to(unit.device)).to(unit))

    def decode(method: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        raw = method(z)
        return raw.double() * scale.to(raw.device) + shift.to(raw.device)

    declared = model.value_range
    model.value_range = (0.0, 1.0)
    try:
        with wrapped(model, _encode=encode, _decode=decode):
            # NaN, where a range overflows, counts as gray.
            return rmse(x, round_trip(model, x).nan_to_num(0.5))
    finally:
        model.value_range = declared


def _affine(low: float, high: float) -> tuple[Tensor, Tensor]:
    """Shift and scale by which [0, 1] becomes a range: (x - shift) / scale."""
    scale = 1 / (high - low)
    return torch.tensor(-low * scale).double(), torch.tensor(scale).double()


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).double()[:, None, None]


def _ends(values: Tensor) -> list[float]:
    """1 % and 99 % quantiles, by sorting: `quantile` takes 16 million values at most."""
    ordered = values.sort().values
    return [float(ordered[round(q * (len(ordered) - 1))]) for q in (0.01, 0.99)]

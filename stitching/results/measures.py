"""The measures that reports show, in their order: the one place that describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Measure:
    """How a measure is shown.

    Attributes:
        key: Its key in `metrics.json`.
        label: Name and unit for people.
        lower_is_better: Direction.
        good: What its good end is, in a word; "" where neither end is better.
        percent: Shown in percent; else with three significant digits.
        printed: Shown of a sweep that is too large to show all.
        pictured: Has a heatmap.
        by_column: Its unit changes with the decoder, so only columns can be compared.
        of_decoder: Depends on the decoder alone: the encoders of a column are not ranked by it.
        biased: A distance between distributions whose estimate is too large for few images.
        floor: Lowest value with a colour of its own.
    """

    key: str
    label: str
    lower_is_better: bool = False
    good: str = "better"
    percent: bool = False
    printed: bool = False
    pictured: bool = False
    by_column: bool = False
    of_decoder: bool = False
    biased: bool = False
    floor: float | None = None


# fmt: off
MEASURES = (
    Measure("latent/mse", "Latent MSE (in target units)", lower_is_better=True, pictured=True,
            by_column=True),
    Measure("latent/rmse", "Latent RMSE (in target units)", lower_is_better=True, by_column=True),
    Measure("latent/r2", "Latent R² (0: mean predictor)", printed=True, pictured=True, floor=0.0),
    Measure("latent/r2_beyond_pixels", "Latent R² beyond pixels (share of what pixels leave)",
            printed=True, pictured=True, floor=0.0),
    Measure("latent/r2_pixels", "Latent R² from pixels", of_decoder=True),
    Measure("latent/nmse", "Latent MSE over variance, by dimension (1: mean predictor)",
            lower_is_better=True),
    Measure("latent/cosine", "Cosine of centred latents"),
    Measure("image/rmse", "Pixel RMSE (0-1 scale)", lower_is_better=True, printed=True,
            pictured=True),
    Measure("image/psnr", "PSNR (dB)"),
    Measure("image/ssim", "SSIM", pictured=True),
    Measure("image/lpips", "LPIPS (AlexNet)", lower_is_better=True, printed=True, pictured=True),
    Measure("image/lpips_vgg", "LPIPS (VGG)", lower_is_better=True),
    Measure("image/rmse_gain", "Pixel RMSE, gain over pixels", pictured=True),
    Measure("image/rmse_gain_pca", "Pixel RMSE, gain over as many components of pixels"),
    Measure("image/lpips_gain", "LPIPS, gain over pixels", pictured=True),
    Measure("image/lpips_gain_pca", "LPIPS, gain over as many components of pixels"),
    Measure("image/kid", "KID (Inception)", lower_is_better=True, printed=True, pictured=True),
    Measure("image/kd_effnet", "Kernel distance (EfficientNet-Lite0)", lower_is_better=True,
            printed=True, pictured=True),
    Measure("image/fid", "FID (Inception)", lower_is_better=True, printed=True, pictured=True,
            biased=True),
    Measure("image/fid_extrapolated", "FID (Inception), extrapolated in 1/n",
            lower_is_better=True),
    Measure("image/fd_effnet", "Fréchet distance (EfficientNet-Lite0)", lower_is_better=True,
            printed=True, pictured=True, biased=True),
    Measure("image/fd_effnet_extrapolated",
            "Fréchet distance (EfficientNet-Lite0), extrapolated in 1/n", lower_is_better=True),
    Measure("image/precision", "Precision"),
    Measure("image/recall", "Recall"),
    Measure("image/clipped", "Pixel values clipped (%)", lower_is_better=True, percent=True),
    Measure("image/own_clipped", "Pixel values clipped, own reconstructions (%)",
            lower_is_better=True, percent=True, of_decoder=True),
    Measure("geometry/cka", "Linear CKA of the two spaces", good="more alike", pictured=True),
    Measure("geometry/knn", "Shared nearest neighbours of the two spaces", good="more alike",
            pictured=True),
    Measure("geometry/cca", "Canonical correlation of the two spaces", good="more alike"),
    Measure("geometry/procrustes", "Procrustes distance of the two spaces", lower_is_better=True,
            good="more alike"),
    Measure("probe/accuracy_own", "Probe accuracy, own latents (%)", percent=True, pictured=True,
            of_decoder=True),
    Measure("probe/accuracy_mapped", "Probe accuracy, mapped latents (%)", percent=True,
            pictured=True),
    Measure("probe/majority", "Accuracy of the more frequent label (%)", good="", percent=True,
            of_decoder=True),
    Measure("probe/balanced_accuracy_own", "Balanced probe accuracy, own latents (%)",
            percent=True, pictured=True, of_decoder=True),
    Measure("probe/balanced_accuracy_mapped", "Balanced probe accuracy, mapped latents (%)",
            percent=True, pictured=True),
    Measure("probe/auc_own", "Probe AUC, own latents", of_decoder=True),
    Measure("probe/auc_mapped", "Probe AUC, mapped latents"),
    Measure("probe/control_own", "Probe accuracy on random labels, own latents (%)", good="",
            percent=True, of_decoder=True),
    Measure("probe/control_mapped", "Probe accuracy on random labels, mapped latents (%)",
            good="", percent=True),
    Measure("probe/consistency", "Probe consistency (% match)", percent=True, printed=True,
            pictured=True),
    Measure("probe/kappa", "Probe consistency beyond chance (kappa)", pictured=True),
    Measure("probe/kappa_relative",
            "Probe kappa, relative to two probes of one model (1: alike)", pictured=True),
    Measure("probe/consistency_ceiling", "Consistency of two probes of one model (% match)",
            percent=True, of_decoder=True),
    Measure("probe/kappa_ceiling", "Kappa of two probes of one model", of_decoder=True),
    Measure("probe/kappa_halves", "Kappa of two probes of one model, one on mapped latents"),
    Measure("probe/percent_delta", "Probe accuracy, mapped against own (% change)", percent=True,
            pictured=True),
    Measure("factor/r2_own", "Factor R², own latents", of_decoder=True),
    Measure("factor/r2_mapped", "Factor R², mapped latents", pictured=True, floor=0.0),
    Measure("factor/spearman_own", "Factor rank correlation, own latents", of_decoder=True),
    Measure("factor/spearman_mapped", "Factor rank correlation, mapped latents"),
    Measure("class/accuracy_own", "Class accuracy, own latents (%)", percent=True,
            of_decoder=True),
    Measure("class/accuracy_mapped", "Class accuracy, mapped latents (%)", percent=True,
            pictured=True),
    Measure("class/balanced_accuracy_own", "Balanced class accuracy, own latents (%)",
            percent=True, of_decoder=True),
    Measure("class/balanced_accuracy_mapped", "Balanced class accuracy, mapped latents (%)",
            percent=True),
    Measure("class/majority", "Accuracy of the most frequent class (%)", good="", percent=True,
            of_decoder=True),
    Measure("class/control_own", "Class accuracy on random labels, own latents (%)", good="",
            percent=True, of_decoder=True),
    Measure("class/control_mapped", "Class accuracy on random labels, mapped latents (%)",
            good="", percent=True),
    Measure("class/consistency", "Class consistency (% match)", percent=True),
    Measure("class/kappa", "Class consistency beyond chance (kappa)", pictured=True),
    Measure("class/kappa_relative",
            "Class kappa, relative to two probes of one model (1: alike)"),
    Measure("class/consistency_ceiling", "Class consistency of two probes of one model (% match)",
            percent=True, of_decoder=True),
    Measure("class/kappa_ceiling", "Class kappa of two probes of one model", of_decoder=True),
    Measure("class/kappa_halves", "Class kappa of two probes, one on mapped latents"),
)
# fmt: on

#: What short tables show, in this order; of a group the first that was measured.
_MAIN = (
    ("image/rmse",),
    ("latent/r2",),
    ("latent/r2_beyond_pixels",),
    ("image/kid", "image/kd_effnet", "image/fid", "image/fd_effnet"),
    ("probe/kappa", "class/kappa"),
    ("image/lpips",),
)

#: Main measures at most: with their intervals they fit into `summary.csv` and onto a page.
MOST_MAIN = 5

_BY_KEY = {measure.key: measure for measure in MEASURES}


def measure_of(key: str) -> Measure:
    """Return how a key is shown; that of one label, such as `probe/kappa/Male`, as its mean is.

    A key that is not known is shown by its name, with three digits and without a good end.
    """
    if key in _BY_KEY:
        return _BY_KEY[key]
    base, _, name = key.rpartition("/")
    if base in _BY_KEY:
        return replace(_BY_KEY[base], key=key, label=f"{_BY_KEY[base].label}, {name}")
    return Measure(key, key, good="")


def main_measures(measured: Sequence[Measure]) -> list[Measure]:
    """Return the measures that short tables show, the first of which the console shows.

    Args:
        measured: Those that a grid has. Where none of the usual ones is among them, the first
            ones are taken.
    """
    of = {measure.key: measure for measure in measured}
    found = [next((of[key] for key in group if key in of), None) for group in _MAIN]
    return ([measure for measure in found if measure] or [*measured])[:MOST_MAIN]


def headline(cells: Iterable[Mapping[str, Any]]) -> list[Measure]:
    """Return the measures that protocols judge by, in the order of `MEASURES`.

    Args:
        cells: Values of cells; `protocol/measures` names keys, separated by commas. Where no
            cell has it, those shown of a large sweep are taken.
    """
    lists = {str(values.get("protocol/measures") or "") for values in cells}
    named = {key.strip() for keys in lists for key in keys.split(",") if key.strip()}
    if not named:
        return [measure for measure in MEASURES if measure.printed]
    known = [measure for measure in MEASURES if measure.key in named]
    return known + [measure_of(key) for key in sorted(named.difference(_BY_KEY))]

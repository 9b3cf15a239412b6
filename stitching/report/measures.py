"""The measures that reports show, in their order: the one place that describes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """How a measure is shown.

    Attributes:
        key: Its key in `metrics.json`.
        label: Name and unit for people.
        lower_is_better: Direction.
        percent: Shown in percent; else with three significant digits.
        printed: In the table on the console; `table.md` has all.
        by_column: Its unit changes with the decoder, so only columns can be compared.
        floor: Lowest value with a colour of its own.
    """

    key: str
    label: str
    lower_is_better: bool = False
    percent: bool = False
    printed: bool = False
    by_column: bool = False
    floor: float | None = None


MEASURES = (
    Measure("latent/mse", "Latent MSE (in target units)", lower_is_better=True, by_column=True),
    Measure("latent/r2", "Latent R² (0: mean predictor)", printed=True, floor=0.0),
    Measure("image/rmse", "Pixel RMSE (0-1 scale)", lower_is_better=True, printed=True),
    Measure("image/lpips", "LPIPS (AlexNet)", lower_is_better=True, printed=True),
    Measure("image/fid", "FID (Inception)", lower_is_better=True, printed=True),
    Measure(
        "image/fd_effnet",
        "Fréchet distance (EfficientNet-Lite0)",
        lower_is_better=True,
        printed=True,
    ),
    Measure("probe/accuracy_own", "Probe accuracy, own latents (%)", percent=True),
    Measure("probe/accuracy_mapped", "Probe accuracy, mapped latents (%)", percent=True),
    Measure(
        "probe/balanced_accuracy_own", "Balanced probe accuracy, own latents (%)", percent=True
    ),
    Measure(
        "probe/balanced_accuracy_mapped",
        "Balanced probe accuracy, mapped latents (%)",
        percent=True,
    ),
    Measure("probe/consistency", "Probe consistency (% match)", percent=True, printed=True),
    Measure("probe/kappa", "Probe consistency beyond chance (kappa)"),
)

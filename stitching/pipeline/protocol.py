"""Measuring protocols: the switches in which they differ.

`strict` is the recommended protocol, `paper` that of arXiv 2407.13449, with the faults that
change its findings. Each switch can be set alone, to measure the effect of one fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from stitching.records.words import nearest

PROBE_IDS = ("held_out", "overlapping")
PENALTIES = ("chosen", "by_hand")
LATENTS = ("mean", "sampled")
INVALID = ("fail", "exclude")
REFITS = ("latents", "images")

#: Switches of the two packaged protocols, for labels: `conf/protocol/NAME.yaml`.
PRESETS: Mapping[str, Mapping[str, str | int | None]] = {
    "strict": {
        "probe_ids": "held_out",
        "penalty": "chosen",
        "latents": "mean",
        "test_images": None,
        "probe": "logistic",
    },
    "paper": {
        "probe_ids": "overlapping",
        "penalty": "by_hand",
        "latents": "sampled",
        "test_images": 100,
        "probe": "lasso",
    },
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One protocol.

    Attributes:
        name: Name of its YAML.
        probe_ids: `held_out`: probes are fitted to the fit images and predict from test images.
            `overlapping`: classes are balanced by dropping items, and a fifth of the fit and test
            images together is held out, so that the map was fitted to most of the items that
            probes predict from.
        penalty: `chosen`: penalties of maps and probes are chosen on the fit images. `by_hand`:
            those of `map_alphas` and, for Lasso, `probe_alphas`.
        latents: `mean`: a model with a posterior gives its mean. `sampled`: a draw, seeded by the
            run's seed and the image's id.
        test_images: Number of test images to measure on, the first ones; None for all.
        measures: Keys of the measures that findings rest on.
        invalid: Where an item's latents or images are not finite: `fail` the cell, or `exclude`
            the item from all measures and record how many.
        n_bootstrap: Resamples of the items, for intervals; 0 for none.
        n_halves: Half-samples, for intervals of measures of sets; 0 for none.
        fit_groups: Groups of fit images that the map is refitted without, for intervals that
            contain the choice of fit images; 0 for intervals of the choice of test images alone.
        refits: Measures that refits are made for: those of `latents`, or those of `images` too,
            whose refits are decoded and cost as much as this many cells.
        map_alphas: Ridge penalty by encoder, then decoder; 0 (least squares) where not given.
        probe_alphas: Lasso penalty by model, on raw latents.
    """

    name: str
    probe_ids: str
    penalty: str
    latents: str
    test_images: int | None
    measures: tuple[str, ...]
    invalid: str
    n_bootstrap: int
    n_halves: int
    fit_groups: int
    refits: str
    map_alphas: Mapping[str, Mapping[str, float]]
    probe_alphas: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check every switch.

        Raises:
            ValueError: One has a value that is not allowed.
        """
        for key, allowed in (
            ("probe_ids", PROBE_IDS),
            ("penalty", PENALTIES),
            ("latents", LATENTS),
            ("invalid", INVALID),
            ("refits", REFITS),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f"protocol.{key}={getattr(self, key)!r}: use {' or '.join(allowed)}"
                    f"{nearest(str(getattr(self, key)), allowed)}"
                )
        if self.test_images is not None and not _whole(self.test_images, 1):
            raise ValueError(
                "protocol.test_images must be a whole number >= 1, or null for all, got "
                f"{self.test_images!r}"
            )
        for key in ("n_bootstrap", "n_halves"):
            if not _whole(getattr(self, key), 0):
                raise ValueError(
                    f"protocol.{key} must be a whole number >= 0, got {getattr(self, key)!r}"
                )
        if not _whole(self.fit_groups, 0) or self.fit_groups == 1:
            raise ValueError(
                "protocol.fit_groups must be a whole number >= 2, or 0 for none, got "
                f"{self.fit_groups!r}"
            )
        tables = {f"map_alphas.{encoder}": row for encoder, row in self.map_alphas.items()}
        for table, row in (tables | {"probe_alphas": self.probe_alphas}).items():
            if not isinstance(row, Mapping):
                raise ValueError(f"protocol.{table} must be penalties by model, got {row!r}")
            for model, alpha in row.items():
                # Ridge without a penalty is least squares; a Lasso needs one.
                lasso = table == "probe_alphas"
                if not _number(alpha) or alpha < 0 or (lasso and alpha == 0):
                    least = "> 0" if lasso else ">= 0"
                    raise ValueError(
                        f"protocol.{table}.{model} must be a finite number {least}, got {alpha!r}"
                    )

    def map_alpha(self, encoder: str, decoder: str) -> float:
        """Return the penalty set by hand for a pair of models, 0 for none.

        Names such as `nf-celeba64` are cut at the dash.
        """
        return float(self.map_alphas.get(_family(encoder), {}).get(_family(decoder), 0.0))

    def probe_alpha(self, model: str) -> float | None:
        """Return the Lasso penalty set by hand for a model, None for none."""
        alpha = self.probe_alphas.get(_family(model))
        return None if alpha is None else float(alpha)

    def label(self, probe: str) -> str:
        """Return the name, with the switches that differ from the packaged protocol.

        Args:
            probe: Kind of the probes, such as `logistic`.
        """
        changed = [self.name]
        for key, usual in PRESETS.get(self.name, {}).items():
            value = probe if key == "probe" else getattr(self, key)
            if value != usual:
                changed.append(f"{key}={value}")
        return ", ".join(changed)

    def facts(self, probe: str) -> dict[str, str | int | None]:
        """Return the protocol as flat results.

        Args:
            probe: Kind of the probes, such as `logistic`, or `none`.
        """
        return {
            "protocol": self.label(probe),
            "probe": probe,
            "protocol/probe_ids": self.probe_ids,
            "protocol/penalty": self.penalty,
            "protocol/latents": self.latents,
            "protocol/test_images": self.test_images,
            "protocol/measures": ",".join(self.measures),
            "protocol/n_bootstrap": self.n_bootstrap,
            "protocol/n_halves": self.n_halves,
            "protocol/fit_groups": self.fit_groups,
            "protocol/refits": self.refits,
        }


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(float(str(value)))


def _family(name: str) -> str:
    return name.partition("-")[0]

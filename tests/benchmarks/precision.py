"""What `dtype=bfloat16` changes for each packaged model: latents and images, beside float32.

`python tests/benchmarks/precision.py` writes the table of docs/ZOO.md; one minute on two cores.
Each bound is twice what was measured, for other processors round in another order.
"""

import argparse
import math

from published import ROOT, replace, table

import stitching

MODELS = ("vae", "vqvae", "nf", "dm", "gan")
COLUMNS = ("latents, RMS", "latents, largest", "images, RMSE")


def differences(name, n):
    """Return what `COLUMNS` names, by column, from n held-out faces (of `gan`: drawn images)."""
    exact, rough = (
        stitching.load_model(name, device="cpu", dtype=d) for d in ("float32", "bfloat16")
    )
    if exact.can_encode:
        x = stitching.load_images("faces", split="test", n=n)
        z, other = exact.encode(x), rough.encode(x)
    else:
        z = other = exact.known_latents(0, range(n))  # drawn, under no autocast
    images = rough.decode(z) - exact.decode(z)
    spread = float(z.std())
    return dict(
        zip(
            COLUMNS,
            (
                float((other - z).square().mean().sqrt()) / spread,
                float((other - z).abs().max()) / spread,
                float(images.square().mean().sqrt()),
            ),
            strict=True,
        )
    )


def main():
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=64)
    n = parser.parse_args().n
    rows = []
    for name in MODELS:
        found = differences(name, n)
        print(name, {key: f"{value:.2g}" for key, value in found.items()}, flush=True)
        rows.append([f"`{name}`", *(_up(2 * found[column]) for column in COLUMNS)])
    text = table(["model", *COLUMNS], rows, ["---", *["---:"] * len(COLUMNS)])
    replace(ROOT / "docs" / "ZOO.md", "precision", text)


def _up(value):
    """Two digits, rounded up."""
    if value == 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.2g}"


if __name__ == "__main__":
    main()

"""Models of a user's own configuration folder, small enough for real processes."""

from pathlib import Path

LAUNCH = Path(__file__).parents[1] / "launch.py"

MODEL = """
_target_: stitching.models.vae.VAE
name: {name}
image_size: ${{data.image_size}}
patch_size: 4
latent_dim: {width}
channels: [8, 8]
value_range: [0.0, 1.0]
weights: {weights}
"""


def write_models(folder, broken=(), **widths):
    """Write a model per name, untrained and of this latent width; return the folder.

    Weight files of those in `broken` do not exist.
    """
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for name, width in widths.items():
        weights = "no.bin" if name in broken else "null"
        text = MODEL.format(name=name, width=width, weights=weights)
        (folder / "model" / f"{name}.yaml").write_text(text)
    return folder

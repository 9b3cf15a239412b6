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
value_range: [0.0, {top}]
weights: {weights}
"""


def write_models(folder, broken=(), absent=(), **widths):
    """Write a model per name, untrained and of this latent width; return the folder.

    Those in `broken` fail at their first image, and weight files of those in `absent` do not
    exist.
    """
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for name, width in widths.items():
        weights = "no.bin" if name in absent else "null"
        top = "1.0e39" if name in broken else "1.0"  # infinite in float32
        text = MODEL.format(name=name, width=width, weights=weights, top=top)
        (folder / "model" / f"{name}.yaml").write_text(text)
    return folder

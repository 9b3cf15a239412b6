"""bfloat16 changes latents and images by no more than the figure in docs/ZOO.md."""

import re
from pathlib import Path

import pytest
import torch

import stitching

TEXT = (Path(__file__).parents[2] / "docs" / "ZOO.md").read_text(encoding="utf-8")
ROWS = re.search(r"<!-- precision -->\n(.*?)<!-- /precision -->", TEXT, re.DOTALL)[1]
BOUNDS = {
    found[1]: [float(bound) for bound in found[2].split("|")]
    for found in re.finditer(r"^\| `(\w+)` \|(.*)\|$", ROWS, re.MULTILINE)
}


def test_every_packaged_model_has_its_bounds():
    assert list(BOUNDS) == ["vae", "vqvae", "nf", "dm", "gan"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "dm" else name for name in BOUNDS],
)
def test_bfloat16_changes_no_more_than_documented(name):
    exact, rough = (stitching.load_model(name, dtype=d) for d in ("float32", "bfloat16"))
    n, rms, largest, rmse = 2, *BOUNDS[name]
    if exact.can_encode:
        x = stitching.load_images("faces", split="test", n=n)
        z, other = exact.encode(x), rough.encode(x)
        assert not torch.equal(z, other)
    else:
        z, other = exact.known_latents(0, range(n)), rough.known_latents(0, range(n))
    spread = float(z.std())
    assert float((other - z).square().mean().sqrt()) <= rms * spread
    assert float((other - z).abs().max()) <= largest * spread
    difference = float((rough.decode(z) - exact.decode(z)).square().mean().sqrt())
    assert 0 < difference <= rmse

"""The finding of a grid: counts and numbers are those of its cells."""

from stitching.results.finding import finding
from stitching.results.grid import read_grid
from tests.report.made import make_cell

PIXELS = "that a linear map from raw pixels leaves unexplained"


def measured(root, encoder, decoder, number, **measures):
    """A cell whose measures have intervals of .01 to either side."""
    facts = {}
    for key, value in measures.items():
        facts |= {key: value, f"{key}.low": value - 0.01, f"{key}.high": value + 0.01}
    make_cell(root, encoder, decoder, number, **facts)


def found(root):
    return finding(read_grid(root))


def grid(root, beyond, gain=-0.1):
    for number, (pair, value) in enumerate(beyond.items()):
        measured(
            root, *pair, number, latent__r2=0.5 + value, latent__r2_beyond_pixels=value,
            image__rmse_gain=gain, image__lpips_gain=0.001,
        )  # fmt: skip


def test_pairs_above_zero_are_counted_and_the_best_is_named(tmp_path):
    grid(tmp_path, {("vae", "nf"): 0.2, ("nf", "vae"): 0.005, ("vae", "vae"): 1.0})
    first, second, third = found(tmp_path)
    assert first == (
        "On 100 drawn faces to fit and 20 to test: in 1 of 2 pairs of different models the "
        f"encoder explains a part of a decoder's latents {PIXELS}, at most 20 % [19, 21], from "
        "`vae` to `nf`."
    )
    assert second == (
        "Of 2 pairs of different models, 0 by RMSE and 0 by LPIPS have better images than the map "
        "from raw pixels to the same decoder; 2 by RMSE and 0 by LPIPS have worse ones."
    )
    assert "`vae` to `nf`, has R² 0.700 [0.690, 0.710]" in third
    assert "Controls are not in this grid" in third


def test_where_no_interval_is_above_zero_none_is_named(tmp_path):
    grid(tmp_path, {("vae", "nf"): 0.005, ("nf", "vae"): -0.2})
    assert found(tmp_path)[0].endswith(
        "in none of 2 pairs of different models does the encoder explain any part of a decoder's "
        f"latents {PIXELS}."
    )


def test_the_best_map_stands_beside_controls_of_its_decoder(tmp_path):
    measured(tmp_path, "vae", "nf", 0, latent__r2=0.6)
    measured(tmp_path, "pixels", "nf", 1, latent__r2=0.7)
    measured(tmp_path, "pixels", "vae", 2, latent__r2=0.8)
    measured(tmp_path, "random", "nf", 3, latent__r2=0.0)
    (text,) = found(tmp_path)
    assert text.endswith("of controls to the same decoder `pixels` 0.700 [0.690, 0.710].")


def test_two_trainings_of_one_model_are_no_pair_of_different_ones(tmp_path):
    measured(tmp_path, "vae", "vae-2", 0, latent__r2=0.9)
    (text,) = found(tmp_path)
    assert "two trainings of one model R² is: `vae` to `vae-2` 0.900 [0.890, 0.910]" in text


def test_without_two_trained_models_there_is_no_finding(tmp_path):
    measured(tmp_path, "vae", "vae", 0, latent__r2=1.0)
    measured(tmp_path, "pixels", "vae", 1, latent__r2=0.9)
    assert found(tmp_path) == []

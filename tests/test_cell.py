import pytest
import torch

from stitching.cache import Cache
from stitching.cell import Cell
from stitching.data.faces import Faces
from stitching.latents import Subject
from stitching.maps import Identity, Ridge
from stitching.metrics.lpips import LPIPS
from stitching.metrics.pixel import RMSE
from stitching.probes import LinearProbes
from tests.small import Pixels, fitting, small_vae, small_vae_options

# Few images and many pixels: exact fits are what these small cells are made of.
pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


class Other(Pixels):
    """Another class, hence another model: a map is fitted."""


def identity(cls=Pixels, **options):
    return Subject(cls(**options).freeze(), {"name": "pixels", **options}, "float32")


def vae(seed=0):
    return Subject(small_vae(), small_vae_options(), "float32")


def cell(tmp_path, encoder, decoder, metrics=None, **options):
    cache = Cache(tmp_path)
    defaults = {
        "data": Faces("faces", 40, 9, 32, 0, 1),
        "fitting": fitting(options.pop("map", Ridge()), cache),
        "metrics": {"rmse": RMSE()} if metrics is None else metrics,
        "probes": LinearProbes(["Male", "Smiling"], 5),
        "cache": cache,
        "batch_size": 4,
        "seed": 0,
    }
    return Cell(encoder=encoder, decoder=decoder, **(defaults | options))


def test_a_decoder_that_returns_its_target_scores_perfectly(tmp_path):
    metrics = {"rmse": RMSE(), "lpips": LPIPS("alex", None)}
    result = cell(tmp_path, identity(), identity(), metrics).run()
    assert result.metrics["map"] == "identity"
    assert result.metrics["image/rmse"] == 0
    assert result.metrics["image/lpips"] == 0
    assert result.metrics["latent/r2"] == 1
    assert result.metrics["probe/consistency"] == 1


def test_all_measures_answer_to_one_reference(tmp_path):
    # The decoder is off by 16/255 everywhere (where not clamped): RMSE says so exactly.
    metrics = {"rmse": RMSE(), "lpips": LPIPS("alex", None)}
    decoder = identity(shift=-16 / 255)
    result = cell(tmp_path, identity(), decoder, metrics, map=Identity()).run()
    x = result.original
    moved = (x - 16 / 255).clamp(0, 1)
    expected = {
        key: metric.compute(metric.features(x), metric.features(moved))[f"image/{key}"]
        for key, metric in metrics.items()
    }
    assert result.metrics["image/rmse"] == pytest.approx(expected["rmse"], rel=1e-5)
    assert result.metrics["image/lpips"] == pytest.approx(expected["lpips"], rel=1e-4)
    assert expected["rmse"] == pytest.approx(16 / 255, rel=0.05)


def test_the_diagonal_is_the_models_own_reconstruction(tmp_path):
    result = cell(tmp_path, vae(), vae()).run()
    assert result.metrics["map"] == "identity"
    assert torch.equal(result.own, result.stitched)


def test_a_model_decoded_in_another_way_has_the_same_space_and_needs_no_map(tmp_path):
    result = cell(tmp_path, identity(), identity(shift=-16 / 255)).run()
    assert result.metrics["map"] == "identity"
    assert torch.equal(result.own, result.stitched)


def test_a_pair_that_shares_its_space_is_mapped_almost_exactly(tmp_path):
    result = cell(tmp_path, vae(), Subject(small_vae(), small_vae_options(), "bfloat16")).run()
    assert result.metrics["map"] == "ridge"
    assert result.metrics["latent/r2"] > 0.99


def test_results_do_not_depend_on_the_batch_size(tmp_path):
    one, seven, all_ = (
        cell(tmp_path / str(n), vae(), identity(), batch_size=n).run().metrics for n in (1, 7, 64)
    )
    for other in (seven, all_):
        assert other.keys() == one.keys()
        for key, value in one.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, abs=1e-6), key
            else:
                assert other[key] == value, key


def test_a_rerun_gives_the_same_results_and_encodes_nothing(tmp_path):
    first = cell(tmp_path, vae(), identity()).run()
    second = cell(tmp_path, vae(), identity()).run()
    assert first.metrics == second.metrics
    assert first.resources["count/images_encoded"] == 2 * (40 + 9)
    assert second.resources["count/images_encoded"] == 0


def test_an_earlier_cell_changes_nothing(tmp_path):
    alone = cell(tmp_path / "a", vae(), identity()).run()
    cell(tmp_path / "b", identity(), vae()).run()
    after = cell(tmp_path / "b", vae(), identity()).run()
    assert alone.metrics == after.metrics


def test_test_images_never_enter_a_fit(tmp_path):
    class Spoiled(Faces):
        """Test images of another series: whatever was fitted must not notice."""

        def _load(self, ids):
            x = super()._load(ids)
            return 255 - x if int(ids[0]) >= 10_000_000 else x

    def fitted(data):
        ran = cell(tmp_path / data.__class__.__name__, vae(), identity(), data=data)
        return ran.run().fitted, ran.probes

    honest, honest_probes = fitted(Faces("faces", 40, 9, 32, 0, 1))
    spoiled, spoiled_probes = fitted(Spoiled("spoiled", 40, 9, 32, 0, 1))
    assert torch.equal(honest.weight, spoiled.weight)
    assert torch.equal(honest.alpha_, spoiled.alpha_)
    assert honest_probes.thresholds == spoiled_probes.thresholds


def test_a_metric_that_is_not_to_be_had_leaves_the_others(tmp_path):
    missing = RMSE()
    missing.name = "absent"
    missing.unavailable = "no weights here"
    result = cell(tmp_path, vae(), vae(), {"absent": missing, "rmse": RMSE()}).run()
    assert result.metrics["image/absent_missing"] == "no weights here"
    assert "image/absent" not in result.metrics
    assert result.metrics["image/rmse"] > 0


def test_reference_features_are_computed_once_per_sweep(tmp_path):
    class Counting(RMSE):
        calls = 0

        def features(self, x):
            type(self).calls += len(x)
            return super().features(x)

    cache = Cache(tmp_path)
    for encoder in (vae(), identity()):
        cell(tmp_path, encoder, identity(Other), {"rmse": Counting()}, cache=cache).run()
    assert Counting.calls == 9 + 2 * 9


def test_every_row_says_where_it_comes_from(tmp_path):
    result = cell(tmp_path, vae(), identity()).run()
    for key in (
        "encoder", "decoder", "data", "map", "alpha", "n_train", "n_test", "seed", "dtype",
        "device", "weights/encoder", "weights/decoder", "version/torch", "data/test_ids",
    ):  # fmt: skip
        assert key in result.metrics
    assert {"time/encode_s", "time/total_s", "memory/peak_mib"} <= result.resources.keys()
    assert result.metrics["n_test"] == 9


def test_images_that_are_not_finite_end_the_cell(tmp_path):
    class Nan(Pixels):
        def _decode(self, z):
            return z / 0

    with pytest.raises(ValueError, match="images with values that are not finite"):
        cell(tmp_path, vae(), identity(Nan)).run()

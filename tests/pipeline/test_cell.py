import pytest
import torch
from safetensors.torch import load_file

from stitching.compute.images import quantise
from stitching.data.faces import Faces
from stitching.maps import Identity
from stitching.metrics.lpips import LPIPS
from stitching.metrics.pixel import PSNR, RMSE
from stitching.metrics.pixel import Pixels as PixelSpace
from stitching.metrics.resampling import Resamples
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from tests.small import Pixels, small_cell, small_vae, small_vae_options, strict

# Few images and many pixels: exact fits are what these small cells are made of.
pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


class Other(Pixels):
    """Another class, hence another model: a map is fitted."""


def identity(cls=Pixels, **options):
    return FrozenModel(cls(**options).freeze(), {"name": "pixels", **options}, "float32")


def vae(seed=0):
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def cell(tmp_path, encoder, decoder, metrics=None, **options):
    data = options.pop("data", Faces("faces", 40, 9, 32, 0, 1))
    cache = options.pop("cache", Cache(tmp_path))
    options = {"metrics": metrics or {"rmse": RMSE()}, "batch_size": 4} | options
    return small_cell(encoder, decoder, data, cache, options.pop("map", None), **options)


def test_a_decoder_that_returns_its_target_scores_perfectly(tmp_path):
    metrics = {"rmse": RMSE(), "lpips": LPIPS("alex", None)}
    result = cell(tmp_path, identity(), identity(), metrics).run()
    assert result.metrics["map"] == "identity"
    assert result.metrics["image/rmse"] == 0
    assert result.metrics["image/lpips"] == 0
    assert result.metrics["latent/r2"] == 1
    assert result.metrics["probe/consistency"] == 1


def test_all_measures_have_one_reference(tmp_path):
    # The decoder is off by 16/255 everywhere (where not clamped), and so is the RMSE.
    metrics = {"rmse": RMSE(), "lpips": LPIPS("alex", None)}
    decoder = identity(shift=-16 / 255)
    result = cell(tmp_path, identity(), decoder, metrics, map=Identity()).run()
    x = result.pictures.original
    moved = (x.float() - 16).clamp(0, 255).to(torch.uint8)
    for key, metric in metrics.items():
        sides = (metric.space.features(images) for images in (x, moved))
        found = metric.compute(*sides, Resamples(9, 0, 0))
        expected = found[f"image/{key}"].value
        assert result.metrics[f"image/{key}"] == pytest.approx(expected, rel=1e-6)
    assert result.metrics["image/rmse"] == pytest.approx(16 / 255, rel=0.05)
    assert result.metrics["image/clipped"] == pytest.approx(
        float((x < 16).double().mean()), abs=1e-6
    )


def test_the_diagonal_is_the_models_own_reconstruction(tmp_path):
    result = cell(tmp_path, vae(), vae()).run()
    assert result.metrics["map"] == "identity"
    assert torch.equal(result.pictures.own, result.pictures.stitched)


def test_a_model_decoded_in_another_way_has_the_same_space_and_needs_no_map(tmp_path):
    result = cell(tmp_path, identity(), identity(shift=-16 / 255)).run()
    assert result.metrics["map"] == "identity"
    assert torch.equal(result.pictures.own, result.pictures.stitched)


def test_a_pair_that_shares_its_space_is_mapped_almost_exactly(tmp_path):
    result = cell(tmp_path, vae(), FrozenModel(small_vae(), small_vae_options(), "bfloat16")).run()
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
        folder = tmp_path / data.__class__.__name__
        result = cell(folder, vae(), identity(), data=data).run()
        probes = sorted((folder / "probes").glob("*.safetensors"))
        kept = [load_file(path)["true.weight"] for path in probes]
        return result, sorted(kept, key=lambda weight: weight.flatten().tolist())

    honest, honest_probes = fitted(Faces("faces", 40, 9, 32, 0, 1))
    spoiled, spoiled_probes = fitted(Spoiled("faces", 40, 9, 32, 0, 1))
    assert honest.metrics["image/rmse"] != spoiled.metrics["image/rmse"]
    assert torch.equal(honest.fitted.weight, spoiled.fitted.weight)
    assert torch.equal(honest.fitted.alpha_, spoiled.fitted.alpha_)
    assert len(honest_probes) == 2 + 5  # attributes and factors; too few heads are bald
    for one, other in zip(honest_probes, spoiled_probes, strict=True):
        assert torch.equal(one, other)


def test_a_test_latent_blown_up_a_million_times_moves_nothing_that_is_fitted(tmp_path):
    data = Faces("faces", 120, 9, 32, 0, 1)
    one = data.split("test").images([4]).mean()

    class Blown(Pixels):
        def _encode(self, x):
            z = x.clone()
            z[(x.mean((1, 2, 3)) - one).abs() < 1e-7] *= 1e6
            return z

    def fitted(cls):
        folder = tmp_path / cls.__name__
        result = cell(folder, vae(), identity(cls), data=data).run()
        return result, {
            path.name: path.read_bytes()
            for kind in ("probes", "factorisations")
            for path in (folder / kind).glob("*.safetensors")
        }

    plain, files = fitted(Other)  # of this file too, so that cache keys are the same
    blown, same_files = fitted(Blown)
    assert blown.metrics["latent/mse"] > 1e6 * plain.metrics["latent/mse"]
    assert torch.equal(plain.fitted.weight, blown.fitted.weight)
    assert len(files) > 5
    assert files == same_files


def test_a_metric_that_is_not_to_be_had_leaves_the_others(tmp_path):
    missing = PSNR()
    missing.name = "absent"
    missing.space.unavailable = "no weights here"
    result = cell(tmp_path, vae(), vae(), {"absent": missing, "rmse": RMSE()}).run()
    assert result.metrics["image/absent_missing"] == "no weights here"
    assert "image/absent" not in result.metrics
    assert result.metrics["image/rmse"] > 0


def test_reference_features_are_computed_once_per_sweep(tmp_path, monkeypatch):
    calls = []
    features = PixelSpace.features
    monkeypatch.setattr(
        PixelSpace, "features", lambda s, x: (calls.append(len(x)), features(s, x))[1]
    )
    cache = Cache(tmp_path)
    counted = []
    for encoder in (vae(), identity()):
        metrics = {"rmse": RMSE(), "psnr": PSNR()}
        result = cell(tmp_path, encoder, identity(Other), metrics, cache=cache).run()
        counted.append(result.resources["count/reference_features"])
    assert counted == [9, 0]
    assert sum(calls) == 9 + 2 * 9  # two measures of one space included


def test_every_row_has_its_provenance(tmp_path):
    result = cell(tmp_path, vae(), identity()).run()
    for key in (
        "encoder", "decoder", "data", "map", "alpha", "n_train", "n_test", "seed", "dtype",
        "device", "weights/encoder", "weights/decoder", "version/torch", "data/test_ids",
    ):  # fmt: skip
        assert key in result.metrics
    assert {"time/encode_s", "time/total_s"} <= result.resources.keys()
    assert {"memory/cell_peak_mib", "memory/process_peak_mib"} & result.resources.keys()
    assert result.metrics["n_test"] == 9


def test_images_that_are_not_finite_end_the_cell(tmp_path):
    class Nan(Pixels):
        def _decode(self, z):
            return z / 0

    with pytest.raises(ValueError, match="latents came out with values that are not finite"):
        cell(tmp_path, vae(), identity(Nan)).run()


class OneBroken(Pixels):
    """Decodes the brightest image of a batch of nine to nothing."""

    def _decode(self, z):
        x = super()._decode(z).clone()
        x[x.flatten(1).mean(1) == x.flatten(1).mean(1).max()] = float("nan")
        return x


def test_an_invalid_image_ends_the_cell_unless_it_is_excluded(tmp_path):
    with pytest.raises(ValueError, match="not finite for 1 of 9 images"):
        cell(tmp_path, identity(), identity(OneBroken)).run()


def test_an_excluded_image_is_counted_and_left_out_of_every_measure(tmp_path):
    data = Faces("faces", 40, 9, 32, 0, 1)
    brightest = int(data.split("test").images(slice(None)).mean((1, 2, 3)).argmax())
    protocol = strict(invalid="exclude", n_bootstrap=0, n_halves=0)
    found = cell(tmp_path, identity(), identity(OneBroken), protocol=protocol).run()
    assert found.metrics["n_invalid"] == 1
    assert found.metrics["invalid/own"] == found.metrics["invalid/stitched"] == 1
    assert found.metrics["invalid/source"] == 0
    assert found.metrics["n_test"] == 9
    assert found.metrics["probe/n_test"] == 8
    assert found.pictures.stitched.shape[0] == 8
    whole = data.split("test")
    rest = [i for i in range(9) if i != brightest]
    assert torch.equal(found.pictures.original, quantise(whole.images(rest))[0])


def test_a_run_without_invalid_images_counts_none(tmp_path):
    plain = cell(tmp_path, vae(), identity()).run().metrics
    counting = cell(tmp_path, vae(), identity(), protocol=strict(invalid="exclude")).run().metrics
    assert counting["n_invalid"] == 0
    assert {key: counting[key] for key in plain} == plain


def test_every_measure_has_an_interval_around_it(tmp_path):
    data = Faces("faces", 150, 30, 32, 0, 1)
    metrics = {"rmse": RMSE(), "psnr": PSNR()}
    result = cell(tmp_path, vae(), identity(), metrics, data=data).run()
    for key in (
        "latent/r2",
        "image/rmse",
        "image/psnr",
        "probe/consistency",
        "factor/r2_mapped",
        "class/kappa",
        "geometry/cka",
        "latent/round_trip_mse",
    ):
        low, high = result.metrics[f"{key}.low"], result.metrics[f"{key}.high"]
        assert low <= result.metrics[key] <= high or result.metrics[key] is None, key
        assert len(result.draws[key]) in (10, 20)


def test_the_geometry_of_two_spaces_is_that_of_their_mirror(tmp_path):
    there = cell(tmp_path, vae(), identity()).run().metrics
    back = cell(tmp_path, identity(), vae()).run().metrics
    keys = [key for key in there if key.startswith("geometry/")]
    assert keys
    assert {key: there[key] for key in keys} == {key: back[key] for key in keys}
    assert len(list((tmp_path / "geometry").glob("*.safetensors"))) == 1


def test_measuring_on_fewer_images_takes_the_first(tmp_path):
    few = cell(tmp_path, vae(), identity(), protocol=strict(test_images=5)).run()
    small = cell(tmp_path, vae(), identity(), data=Faces("faces", 40, 5, 32, 0, 1)).run()
    assert few.metrics["n_test"] == 5
    assert few.metrics["image/rmse"] == small.metrics["image/rmse"]

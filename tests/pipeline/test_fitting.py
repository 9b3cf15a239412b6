"""Maps back, there and back, through a third space, and cut to a rank."""

import pytest
import torch

from stitching.data.faces import Faces
from stitching.maps import OLS, Identity, ReducedRank, Ridge
from stitching.models.base import GenerativeModel
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.pipeline.fitting import Factorisations, Fitting, Space, ranks_of
from tests.small import Pixels, small_cell, small_vae, small_vae_options, strict

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


class Turned(GenerativeModel):
    """A few values of the image under an orthogonal matrix: linear spaces that agree exactly."""

    def __init__(self, seed=0, width=6, image_size=32):
        super().__init__(f"turned-{seed}", image_size, (width,))
        rng = torch.Generator().manual_seed(seed)
        basis, _ = torch.linalg.qr(torch.randn(width, width, generator=rng))
        self.register_buffer("basis", basis)

    def _encode(self, x):
        return x.flatten(1)[:, :: 3 * 32 * 32 // 6][:, : len(self.basis)] @ self.basis

    def _decode(self, z):
        return (z @ self.basis.T).mean(1)[:, None, None, None].expand(-1, 3, 32, 32)


class Blind(Turned):
    """Sees half of the values only: what goes through its space loses the others."""

    def _encode(self, x):
        return super()._encode(x) @ torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0]))


def turned(seed, cls=Turned):
    options = {"_target_": cls.__name__, "name": f"turned-{seed}", "seed": seed}
    return FrozenModel(cls(seed).freeze(), options, "float32")


def cell(tmp_path, encoder, decoder, latent_map, **options):
    data = Faces("faces", 60, 9, 32, 0, 1)
    return small_cell(encoder, decoder, data, Cache(tmp_path), latent_map, **options)


def test_equivalent_spaces_map_both_ways_and_back_without_loss(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(2), OLS()).run().metrics
    for key in ("latent/r2", "latent/reverse_r2", "latent/round_trip_r2"):
        assert metrics[key] == pytest.approx(1, abs=1e-6), key
    assert metrics["latent/round_trip_mse"] < 1e-9


def test_the_reverse_of_a_cell_is_the_forward_of_its_mirror(tmp_path):
    pixels = FrozenModel(Pixels().freeze(), {"name": "pixels"}, "float32")
    vae = FrozenModel(small_vae(), small_vae_options(), "float32")
    there = cell(tmp_path, vae, pixels, Ridge()).run().metrics
    back = cell(tmp_path, pixels, vae, Ridge()).run().metrics
    for key in ("mse", "rmse", "r2"):
        assert there[f"latent/reverse_{key}"] == pytest.approx(back[f"latent/{key}"], rel=1e-9)
    assert there["map/reverse_alpha"] == back["alpha"]


def test_a_round_trip_keeps_what_both_spaces_hold(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(1, Blind), OLS()).run().metrics
    assert metrics["latent/r2"] == pytest.approx(1, abs=1e-5)
    assert 0 < metrics["latent/round_trip_r2"] < 0.99
    # The map back cannot restore dimensions that its space lacks.
    expected = metrics["latent/reverse_r2"]
    assert metrics["latent/round_trip_r2"] == pytest.approx(expected, abs=1e-3)


def test_one_space_goes_round_without_a_fit(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(1), Ridge()).run().metrics
    assert metrics["map"] == "identity"
    assert metrics["latent/round_trip_mse"] == 0
    assert metrics["map/reverse_alpha"] is None


def test_the_round_trip_can_be_left_out(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(2), OLS(), round_trip=False).run().metrics
    assert not [key for key in metrics if "reverse" in key or "round_trip" in key]


def test_a_detour_through_an_equivalent_space_loses_nothing(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(2), OLS(), via=turned(3)).run().metrics
    assert metrics["via"] == "turned-3"
    assert metrics["latent/via_r2"] == pytest.approx(1, abs=1e-6)


def test_a_detour_through_a_blind_space_loses_what_it_does_not_see(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(2), OLS(), via=turned(3, Blind)).run().metrics
    assert metrics["latent/r2"] == pytest.approx(1, abs=1e-6)
    assert metrics["latent/via_r2"] < 0.99


def test_a_detour_through_either_end_is_the_direct_map(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(2), Ridge(), via=turned(2)).run().metrics
    assert metrics["latent/via_mse"] == pytest.approx(metrics["latent/mse"], rel=1e-9)


def test_the_rank_curve_ends_at_the_map_itself(tmp_path):
    result = cell(tmp_path, turned(1), turned(2), Ridge(), rank_curve="auto").run()
    rows = result.curves["rank_curve"]
    assert [row["rank"] for row in rows] == list(range(7))
    assert rows[-1]["latent/r2"] == pytest.approx(result.metrics["latent/r2"], abs=1e-6)
    assert rows[-1]["image/rmse"] == pytest.approx(result.metrics["image/rmse"], rel=1e-5)
    assert "image/rmse" not in rows[3]  # images were measured at 1, 2, 4, the full rank ...
    assert "image/rmse" in rows[4]
    assert 1 <= result.metrics["map/rank_90"] <= 6


def test_ranks_beyond_the_map_are_its_full_rank(tmp_path):
    source = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    reduced = ReducedRank(None).fit(source, source)
    assert ranks_of(reduced, [2, 0, 99]) == [0, 2, 6]


def test_the_penalty_curve_has_a_row_for_each_penalty(tmp_path):
    rows = cell(tmp_path, turned(1), turned(2), Ridge(n_alphas=7)).run().curves["penalty_curve"]
    assert len(rows) == 7
    assert sum(row["chosen"] for row in rows) == 1


@pytest.mark.parametrize("latent_map", [OLS(), Ridge(alpha=0.1)])
def test_a_map_that_chose_nothing_has_no_penalty_curve(tmp_path, latent_map):
    assert "penalty_curve" not in cell(tmp_path, turned(1), turned(2), latent_map).run().curves


@pytest.mark.parametrize("pair", [("vae", "pixels"), ("pixels", "vae")])
def test_a_streamed_cell_equals_the_one_in_memory(tmp_path, pair):
    frozen_models = {
        "pixels": turned(4),
        "vae": FrozenModel(small_vae(), small_vae_options(), "float32"),
    }
    encoder, decoder = (frozen_models[name] for name in pair)
    whole, streamed = (
        # Refits without groups of fit images need latents in memory.
        cell(tmp_path, encoder, decoder, ridge, protocol=strict(fit_groups=0)).run().metrics
        for ridge in (Ridge(), Ridge(chunk=7))
    )
    assert whole.keys() == streamed.keys()
    for key, value in whole.items():
        if isinstance(value, float):
            assert streamed[key] == pytest.approx(value, rel=1e-4, abs=1e-7), key
        else:
            assert streamed[key] == value, key


def test_an_encoder_is_factorised_once_for_all_its_decoders(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "stitching.pipeline.fitting.factorise", lambda *a: made.append(a) or _factorise(*a)
    )
    cache, factorisations = Cache(tmp_path), None
    for decoder in (2, 3):
        ran = cell(tmp_path, turned(1), turned(decoder), Ridge(), round_trip=False)
        ran.probes = None
        factorisations = factorisations or Factorisations(cache)
        ran.fitting = Fitting(Ridge(), factorisations, torch.device("cpu"))
        ran.run()
    assert len(made) == 1


def _factorise(*arguments):
    from stitching.maps import factorise

    return factorise(*arguments)


def test_a_factorisation_is_found_on_disk_by_another_process(tmp_path, monkeypatch):
    space = Space(turned(1), "images", torch.randn(30, 6), torch.randn(3, 6))
    first = Factorisations(Cache(tmp_path)).of(space, None, torch.device("cpu"))
    monkeypatch.setattr(
        "stitching.pipeline.fitting.factorise", lambda *a: pytest.fail("computed again")
    )
    second = Factorisations(Cache(tmp_path)).of(space, None, torch.device("cpu"))
    assert torch.equal(first.eigenvectors, second.eigenvectors)


def test_streamed_identity_needs_no_memory_for_all_rows(tmp_path):
    metrics = cell(tmp_path, turned(1), turned(1), Ridge(chunk=5)).run().metrics
    assert metrics["map"] == Identity.name
    assert metrics["map/train_r2"] == 1

"""Choosing a map by held-out fit images."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import r2_score

from stitching.compute.rows import Rows
from stitching.maps import OLS, ReducedRank, Ridge
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.pipeline.fitting import Factorisations, Fitting, Space
from stitching.pipeline.validation import held_out, validation_r2
from tests.small import Pixels, fitting

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]

N = 300
IDS = [f"item-{i}" for i in range(N)]


def space(name, latents, test=None):
    frozen = FrozenModel(Pixels(name).freeze(), {"kind": name}, "float32")
    return Space(frozen, "fingerprint", latents, latents[:2] if test is None else test)


@pytest.fixture
def pair():
    """A target that three of eight source directions determine, with noise."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(N, 8, generator=generator)
    weights = torch.randn(8, 3, generator=generator) @ torch.randn(3, 5, generator=generator)
    noise = torch.randn(N, 5, generator=generator)
    return space("source", source), space("target", source @ weights + 0.5 * noise)


def r2(latent_map, spaces, cache, ids=IDS, share=0.25, seed=0):
    return validation_r2(fitting(latent_map, cache), *spaces, ids, share, seed)


def test_about_the_share_is_held_out():
    ids = [str(i) for i in range(4000)]
    assert float(held_out(ids, 0.25, 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_an_item_is_held_out_by_its_id_whatever_the_others_are():
    whole = dict(zip(IDS, held_out(IDS, 0.25, 0).tolist(), strict=True))
    some = IDS[200:50:-3]
    assert [whole[item] for item in some] == held_out(some, 0.25, 0).tolist()


def test_another_seed_holds_out_others():
    assert not torch.equal(held_out(IDS, 0.25, 0), held_out(IDS, 0.25, 1))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 20])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(ValueError, match=rf"validation={share}: use a share"):
        held_out(IDS, share, 0)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_side_without_items_is_refused(share):
    with pytest.raises(ValueError, match=r"of 10 fit images: at least 2 are needed on both sides"):
        held_out(IDS[:10], share, 0)


def test_it_is_r2_on_the_held_out_images_of_a_map_fitted_to_the_others(pair, tmp_path):
    out = held_out(IDS, 0.25, 0)
    source, target = (s.train for s in pair)
    fitted = OLS().fit(source[~out], target[~out])
    plain = r2_score(target[out], fitted.predict(source[out]), multioutput="variance_weighted")
    n = int(out.sum())
    expected = 1 - (1 - plain) * (n - 1) / n  # the unbiased variance, as in `latent/r2`
    assert r2(OLS(), pair, Cache(tmp_path)) == pytest.approx(expected, abs=1e-6)


def test_test_latents_are_not_looked_at(pair, tmp_path):
    blind = [replace(s, test=torch.full((2, s.train.shape[1]), torch.nan)) for s in pair]
    assert r2(Ridge(), blind, Cache(tmp_path)) == r2(Ridge(), pair, Cache(tmp_path))


def test_the_order_of_the_images_does_not_matter(pair, tmp_path):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    turned = [replace(s, fingerprint="turned", train=s.train[order]) for s in pair]
    ids = [IDS[i] for i in order.tolist()]
    assert r2(OLS(), turned, Cache(tmp_path), ids) == pytest.approx(
        r2(OLS(), pair, Cache(tmp_path)), abs=1e-6
    )


def test_the_rank_that_the_data_have_scores_highest(pair, tmp_path):
    cache = Cache(tmp_path)
    found = {rank: r2(ReducedRank(rank), pair, cache) for rank in (1, 2, 3, 5)}
    assert max(found, key=found.get) == 3


def test_factorisations_of_all_images_and_of_a_part_are_kept_apart(pair, tmp_path):
    cache, fresh = Cache(tmp_path / "used"), Cache(tmp_path / "fresh")
    fit = Fitting(Ridge(), Factorisations(cache), torch.device("cpu"))
    whole = fit.fit(*pair).summary()
    part = validation_r2(fit, *pair, IDS, 0.25, 0)
    assert part == r2(Ridge(), pair, fresh)
    assert fit.fit(*pair).summary() == whole


def test_latents_that_are_read_from_files_give_the_same(pair, tmp_path):
    streamed = []
    for k, s in enumerate(pair):
        path = tmp_path / f"{k}.safetensors"
        save_file({"latents": s.train}, path)
        streamed.append(replace(s, train=Rows([path])))
    found = r2(Ridge(chunk=64), streamed, Cache(tmp_path))
    assert found == pytest.approx(r2(Ridge(), pair, Cache(tmp_path)), abs=1e-6)


def test_within_one_space_there_is_no_map_to_choose(pair, tmp_path):
    with pytest.raises(ValueError, match="encoder and decoder are the same model, source"):
        r2(Ridge(), (pair[0], pair[0]), Cache(tmp_path))


def test_a_constant_target_is_refused(pair, tmp_path):
    constant = space("target", torch.ones(N, 5))
    with pytest.raises(ValueError, match=r"validation: the true latents of the .* are all equal"):
        r2(OLS(), (pair[0], constant), Cache(tmp_path))


def test_ids_of_another_split_are_refused(pair, tmp_path):
    with pytest.raises(ValueError, match="source has 300 training latents but there are 299 ids"):
        r2(Ridge(), pair, Cache(tmp_path), IDS[1:])

"""The network on top of ridge: what it learns, what it never sees, and where it stops."""

import pytest
import torch

from stitching.maps import PenaltyEdgeWarning, Ridge, load_map
from stitching.maps.mlp import MLP
from tests.maps.helpers import fit_quietly, paired, relative


def bent(n=200, noise=0.05, seed=0, bend=torch.abs):
    """Source (n, 3) and a target (n, 4) that is a bend of it, with noise."""
    rng = torch.Generator().manual_seed(seed)
    source = torch.randn(n, 3, generator=rng, dtype=torch.float64)
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    errors = torch.randn(n, 4, generator=rng, dtype=torch.float64)
    return source, 5 + bend(source @ weight) + source @ weight + noise * errors


def mse(fitted, source, target):
    return float((fitted.predict(source) - target).square().mean())


def correction(fitted, source, target):
    """What a map adds to the ridge map of the same items."""
    return fitted.predict(source) - Ridge().fit(source, target).predict(source)


# --- What it learns


@pytest.mark.parametrize("bend", [torch.abs, lambda z: 3 * torch.tanh(3 * z)])
def test_a_bend_that_no_linear_map_has_is_learned(bend):
    source, target = bent(bend=bend)
    unseen = bent(seed=1, bend=bend)
    fitted, linear = MLP(hidden=64, lr=1e-2).fit(source, target), Ridge().fit(source, target)
    assert mse(fitted, *unseen) < 0.5 * mse(linear, *unseen)
    assert fitted.summary()["epochs"] > 0


def test_a_saturating_target_is_learned_with_the_settings_as_they_are():
    source, target = bent(600, bend=lambda z: 3 * torch.tanh(3 * z))
    fitted, linear = MLP(hidden=256, epochs=20).fit(source, target), Ridge().fit(source, target)
    unseen = bent(200, seed=1, bend=lambda z: 3 * torch.tanh(3 * z))
    assert mse(fitted, *unseen) < 0.7 * mse(linear, *unseen)


def test_where_a_network_helps_nothing_the_map_is_ridge_to_the_bit():
    source, target = (x.float() for x in paired(60, 20, 5))
    fitted, linear = MLP().fit(source, target), Ridge().fit(source, target)
    assert fitted.summary()["epochs"] == 0
    assert torch.equal(fitted.predict(source), linear.predict(source))


@pytest.mark.parametrize("seed", range(5))
def test_the_kept_weights_are_no_worse_than_ridge_on_validation_items(seed):
    found = MLP(hidden=16, lr=1e-2, seed=seed).fit(*bent(60, noise=1.0)).summary()
    assert found["val_mse"] <= found["val_mse_linear"] * (1 + 1e-6)
    assert (found["epochs"] == 0) == (found["val_mse"] == found["val_mse_linear"])


def test_validation_errors_are_those_of_every_tenth_item_predicted_from_the_rest():
    source, target = bent()
    fitted = MLP(hidden=16).fit(source, target)
    held_out = torch.arange(200) % 10 == 0
    part = Ridge().fit(source[~held_out], target[~held_out])
    rest = target[held_out] - part.predict(source[held_out])
    found = fitted.summary()
    assert found["val_mse_linear"] == pytest.approx(float(rest.square().mean()))
    rest = rest - correction(fitted, source, target)[held_out]
    assert found["val_mse"] == pytest.approx(float(rest.square().mean()))


def test_validation_items_do_not_train_the_network():
    source, target = bent()
    rng = torch.Generator().manual_seed(2)
    others = [x.clone() for x in (source, target)]
    for x in others:
        x[::5] += 1e-3 * torch.randn(40, x.shape[1], generator=rng)
    learning = [i for i in range(200) if i % 5]
    added = []
    for pair in ((source, target), others):
        fitted = MLP(hidden=16, epochs=3, val_every=5).fit(*pair)
        assert fitted.summary()["epochs"] == 3
        added.append(correction(fitted, *pair)[learning])
    assert relative(added[0], added[1]) < 1e-9


def test_the_best_epoch_is_kept_not_the_last():
    source, target = bent(40, noise=2.0)
    long = MLP(hidden=64, lr=1e-2, patience=30).fit(source, target)
    best = long.summary()["epochs"]
    assert 0 < best < 70
    short = MLP(hidden=64, lr=1e-2, epochs=best).fit(source, target)
    assert torch.equal(long.predict(source), short.predict(source))


def test_training_ends_where_patience_does():
    fitted = MLP(patience=1, epochs=10**9).fit(*paired(60, 20, 5))
    assert fitted.summary()["epochs"] == 0


def test_facts_of_the_linear_part_are_those_of_ridge():
    source, target = bent()
    found, linear = (
        MLP(hidden=8).fit(source, target).summary(),
        Ridge().fit(source, target).summary(),
    )
    for key in ("alpha", "selection", "rank", "condition", "interpolates", "at_edge"):
        assert found[key] == linear[key]
    assert found["dof"] is None
    assert found["cv_mse"] is None


# --- Numerics


def test_the_scale_and_shift_of_either_space_do_not_matter():
    source, target = bent()
    expected = MLP(hidden=16).fit(source, target).predict(source)
    found = MLP(hidden=16).fit(1e3 * source - 7, 1e-4 * target + 2).predict(1e3 * source - 7)
    assert relative((found - 2) * 1e4, expected) < 1e-4


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fits_where_gradients_are_off_are_the_same(mode):
    source, target = bent()
    expected = MLP(hidden=16).fit(source, target).predict(source)
    with mode():
        found = MLP(hidden=16).fit(source.clone(), target.clone()).predict(source)
    assert torch.equal(found, expected)


def test_the_seed_decides_and_global_generators_do_not():
    source, target = bent()
    fits = []
    for seed, state in ((0, 1), (0, 2), (3, 2)):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            fits.append(MLP(hidden=16, seed=seed).fit(source, target).predict(source))
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[1], fits[2])


def test_a_prediction_does_not_depend_on_its_batch():
    source, target = bent()
    fitted = MLP(hidden=16).fit(source, target)
    apart = torch.cat([fitted.predict(row[None]) for row in source[:20]])
    assert relative(apart, fitted.predict(source)[:20]) < 1e-12


@pytest.mark.parametrize("which", ["source", "target"])
def test_latents_that_do_not_vary_are_mapped_to_the_mean(which):
    source, target = bent()
    (source if which == "source" else target).fill_(0.1)
    fitted = fit_quietly(MLP(hidden=16), source, target)
    assert relative(fitted.predict(source), target.mean(0).expand(200, -1)) < 1e-2
    assert fitted.predict(source + 1).isfinite().all()


def test_a_column_that_hardly_varies_in_training_is_not_blown_up():
    source, target = bent()
    source[:, 2] *= 1e-9
    fitted = MLP(hidden=16).fit(source, target)
    other = source.clone()
    other[:, 2] += 1e-3
    added = [fitted.predict(x) - Ridge().fit(source, target).predict(x) for x in (source, other)]
    assert relative(added[1], added[0]) < 0.5


@pytest.mark.parametrize("width", [3, 250])
def test_a_saved_map_predicts_the_same_to_the_bit(width, tmp_path):
    source, target = bent()
    source = torch.nn.functional.pad(source, (0, width - 3), value=0.1).float()
    fitted = fit_quietly(MLP(hidden=16), source, target.float())
    fitted.save(tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    assert torch.equal(loaded.predict(source), fitted.predict(source))
    assert loaded.summary() == fitted.summary()
    assert vars(loaded).keys() == vars(fitted).keys()


# --- Warnings and errors


def test_ridge_warns_once_and_of_all_items():
    source, _ = bent()
    with pytest.warns(PenaltyEdgeWarning) as caught:
        MLP(hidden=8, epochs=1).fit(source, source @ torch.ones(3, 2).double())
    assert len(caught) == 1


@pytest.mark.parametrize(("n", "every"), [(2, 10), (3, 2)])
def test_too_few_items_to_train_on_are_an_error(n, every):
    with pytest.raises(ValueError, match=rf"keeps 1 of {n} items .* needs 2: raise map.val_every"):
        MLP(val_every=every).fit(*paired(n, 4))


def test_diverging_is_an_error():
    with pytest.raises(ValueError, match=r"diverged in epoch \d: lower map.lr, now 1e\+30"):
        MLP(hidden=8, lr=1e30).fit(*bent())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0}, r"map.hidden must be >= 1, got 0"),
        ({"epochs": 0}, r"map.epochs must be >= 1, got 0"),
        ({"patience": 0}, r"map.patience must be >= 1, got 0"),
        ({"batch_size": 0}, r"map.batch_size must be >= 1, got 0"),
        ({"val_every": 1}, r"map.val_every must be >= 2, got 1"),
        ({"seed": -1}, r"map.seed must be >= 0, got -1"),
        ({"lr": 0.0}, r"map.lr must be > 0 and finite, got 0.0"),
        ({"lr": float("inf")}, r"map.lr must be > 0 and finite, got inf"),
        ({"weight_decay": -1.0}, r"map.weight_decay must be >= 0 and finite, got -1.0"),
    ],
)
def test_settings_out_of_range_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)

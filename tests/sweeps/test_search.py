"""The search space of maps."""

from types import SimpleNamespace

import pytest

from stitching.sweeps.search import suggest_options


class Trial:
    """The part of a trial that is used; it suggests the least of what is allowed."""

    def __init__(self, params, fixed):
        self.params, self.user_attrs = dict(params), dict(fixed)

    def suggest_int(self, name, low, high, log=False):
        return self.params.setdefault(name, low)

    suggest_float = suggest_int


def suggested(params, fixed=None):
    runtime = SimpleNamespace(choices={"map": "ridge"})
    config = SimpleNamespace(
        hydra=SimpleNamespace(runtime=runtime), data=SimpleNamespace(n_train=100)
    )
    trial = Trial(params, fixed or {})
    suggest_options(config, trial)
    return set(trial.params) - set(params)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ridge", set()),
        ("reduced_rank", {"map.rank"}),
        ("relative", {"map.n_anchors", "map.cutoff"}),
        ("mlp", {"map.hidden", "map.lr", "map.weight_decay"}),
    ],
)
def test_a_trial_chooses_the_options_of_its_kind_of_map(kind, options):
    assert suggested({"map": kind}) == options


def test_the_kind_may_be_fixed_or_that_of_the_configuration():
    assert suggested({}, {"map": "reduced_rank"}) == {"map.rank"}
    assert suggested({}) == set()


def test_what_is_given_is_not_chosen_again():
    assert suggested({"map": "relative", "map.cutoff": 0.1}) == {"map.n_anchors"}
    assert suggested({"map": "reduced_rank"}, {"map.rank": "8"}) == set()

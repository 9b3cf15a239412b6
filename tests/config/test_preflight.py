"""A sweep is checked before its first cell: every distinct choice once, every fault once."""

import itertools

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from stitching import config
from stitching.config import preflight
from tests.toys import write_models

SMALL = ["data.n_train=12", "data.n_test=4", "metric=[rmse]", "tracker=none", "probe=none"]


def grid(encoders, decoders, *shared):
    pairs = itertools.product(encoders, decoders)
    return [[f"encoder={e}", f"decoder={d}", *SMALL, *shared] for e, d in pairs]


def check(jobs, *options, folder=None):
    """Check a sweep of these jobs as its start does."""
    config.register_roles()
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        path = [f"hydra.searchpath=[file://{folder}]"] if folder else []
        master = compose("config", [*path, *options, *jobs[0]], return_hydra_config=True)
        return preflight.check_sweep(master, jobs)[0]


def fault(jobs, *options, folder=None):
    with pytest.raises(preflight.SweepError) as error:
        check(jobs, *options, folder=folder)
    first, *lines = str(error.value).splitlines()
    assert first.startswith("the sweep was not started")
    return lines


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A user's folder of small models: four that work, one without its weights."""
    widths = {"a": 4, "b": 5, "c": 6, "d": 7, "gone": 8}
    return write_models(tmp_path_factory.mktemp("models"), absent=("gone",), **widths)


def test_jobs_are_called_by_labels_and_folders_by_names(models):
    jobs = grid("ab", "b", "encoder.latent_dim=3", "decoder.name=x")
    assert check(jobs, folder=models) == [
        ("a-to-x_0", "a[latent_dim=3]", "x"),
        ("b-to-x_1", "b[latent_dim=3]", "x"),
    ]


def test_each_distinct_model_is_built_once_and_few_jobs_are_composed(models, monkeypatch):
    built, composed = [], []
    build, compose_job = config.build_model, preflight._composed
    monkeypatch.setattr(config, "build_model", lambda *a: built.append(a[0]["name"]) or build(*a))
    monkeypatch.setattr(
        preflight, "_composed", lambda *a: composed.append(a[1]) or compose_job(*a)
    )
    check(grid("abcd", "dcba"), folder=models)
    assert sorted(built) == ["a", "b", "c", "d"]
    assert len(composed) == 4  # of 16


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("map.alpha=-1", "map.alpha must be >= 0"),
        ("batch_size=0", "batch_size must be a whole number >= 1"),
        ("picture=9", "picture=9 is not a test image"),
        ("protocol.test_images=64", "protocol.test_images=64, but data.n_test=4"),
        ("dtype=float13", "dtype='float13'"),
        ("via=nobody", "via=nobody: there is no model named nobody"),
        ("data.root=nowhere", "not read from a folder"),
        ("encoder.name=org/pix", "is no name"),
        ("encoder.name=nf", "is called nf, which is the name of another one"),
    ],
)
def test_what_every_cell_would_fail_at_is_said_once(models, option, message):
    (line,) = fault(grid("a", "cd", option), folder=models)
    assert message in line
    assert line.endswith("(in every cell)")


@pytest.mark.parametrize("launcher", ["basic", "submitit_slurm"])
def test_devices_are_looked_for_where_cells_compute(models, launcher):
    jobs, options = grid("a", "b", "device=cuda:99"), [f"hydra/launcher={launcher}"]
    if launcher == "basic":
        assert "device='cuda:99'" in fault(jobs, *options, folder=models)[0]
    else:
        check(jobs, *options, folder=models)
        (line,) = fault(grid("a", "b", "device=tpu"), *options, folder=models)
        assert "device='tpu'" in line


def test_what_some_cells_would_fail_at_refuses_the_sweep_and_names_them(models):
    lines = fault(grid(["a", "random", "gone"], ["b", "random"]), folder=models)
    assert len(lines) == 2
    assert "decoder=random: this model cannot decode" in lines[0]
    assert lines[0].endswith("(in 3 of 6 cells: #1, #3, #5)")
    assert "no.bin" in lines[1]
    assert lines[1].endswith("(in 2 of 6 cells: #4, #5)")


def test_a_pair_that_the_map_cannot_connect_is_found(models):
    (line,) = fault(grid("ab", "a", "map=identity"), folder=models)
    assert "map=identity is for one space" in line
    assert line.endswith("(in 1 of 2 cells: #1)")


def test_an_option_that_cannot_be_composed_is_said_of_the_cells_that_have_it(models):
    (line,) = fault([*grid("a", "b"), *grid("a", "b", "encoder.nonsense=1")], folder=models)
    assert "nonsense" in line
    assert line.endswith("(in 1 of 2 cells: #1)")


def test_one_name_for_two_models_is_refused(models):
    jobs = [*grid("a", "b", "encoder.name=x"), *grid("c", "b", "encoder.name=x")]
    (line,) = fault([*jobs, *grid("d", "b")], folder=models)
    assert "the name x stands for two models: a with" in line
    assert line.endswith("(in 2 of 3 cells: #0, #1)")


def test_seeds_and_sizes_do_not_make_two_models_of_one(models):
    jobs = [*grid(["random"], "a", "seed=1"), *grid(["random"], "a", "seed=2")]
    assert [x.encoder for x in check(jobs, folder=models)] == ["random", "random"]


def test_a_role_may_refer_to_the_other(models):
    jobs = grid("ab", "c", "decoder.name=${encoder.name}-x")
    assert [x.decoder for x in check(jobs, folder=models)] == ["a-x", "b-x"]


def test_hydra_is_left_as_it_was(models):
    check(grid("a", "b"), folder=models)
    assert not HydraConfig.initialized()


def test_a_file_that_hydra_passes_over_is_refused(tmp_path):
    folder = write_models(tmp_path, vae=4)
    (line,) = fault(grid(["vae"], ["nf"]), folder=folder)
    assert "encoder=vae is read from" in line
    assert "model/vae.yaml has no effect" in line
    check(grid(["nf"], ["nf"]), folder=folder)

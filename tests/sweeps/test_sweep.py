import json

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from stitching import config as configuration
from stitching import resume
from stitching.records import plan
from stitching.records.files import write_json
from stitching.sweeps import planning, start
from tests.report.made import cells_of, make_cell

#: What the start of a sweep builds, to check it, in little time.
SMALL = ("encoder=random", "decoder=pixels", "metric=[rmse]", "probe=none")


@pytest.fixture
def hydra_config(tmp_path):
    """Hydra's configuration of a whole sweep, as its callbacks get it."""

    def composed(*overrides, task=(), params=None):
        config = compose("config", [*SMALL, *overrides], return_hydra_config=True)
        with open_dict(config):
            config.hydra.sweep.dir = str(tmp_path / "grid")
            config.hydra.overrides.task = list(task)
            if params:
                config.hydra.sweeper.params = params
        return config

    configuration.register_roles()
    with initialize_config_dir(str(configuration.conf_dir().resolve()), version_base="1.3"):
        yield composed


@pytest.fixture(autouse=True)
def no_sweep(monkeypatch):
    monkeypatch.setattr(start, "_started", None)


def test_planned_jobs_are_in_hydras_order(hydra_config):
    config = hydra_config(task=["encoder=vae,nf", "decoder=dm", "seed=3,4"])
    assert planning.planned_jobs(config) == [
        ["encoder=vae", "decoder=dm", "seed=3"],
        ["encoder=vae", "decoder=dm", "seed=4"],
        ["encoder=nf", "decoder=dm", "seed=3"],
        ["encoder=nf", "decoder=dm", "seed=4"],
    ]


def test_the_command_line_replaces_parameters_of_a_preset(hydra_config):
    config = hydra_config(task=["encoder=vae"], params={"encoder": "nf,dm", "decoder": "nf,dm"})
    assert planning.planned_jobs(config) == [
        ["encoder=vae", "decoder=nf"], ["encoder=vae", "decoder=dm"],
    ]  # fmt: skip


def test_the_start_of_a_sweep_is_written_down(hydra_config, tmp_path):
    task = ["encoder=random,vae", "decoder=vae", "encoder.latent_dim=8", "encoder.weights=null"]
    start.SweepStart().on_multirun_start(hydra_config(task=[*task, *SMALL[2:]]))
    found = json.loads((tmp_path / "grid" / "sweep.json").read_text())
    assert found["id"].startswith("grid-")
    assert found["launcher"] == found["sweeper"] == "basic"
    random, vae = found["jobs"]
    assert (random["number"], random["folder"]) == (0, "random-to-vae_0")
    assert (random["encoder"], random["decoder"]) == ("random[latent_dim=8]", "vae")
    assert (vae["folder"], vae["encoder"]) == ("vae-to-vae_1", "vae[latent_dim=8,weights=null]")
    assert vae["overrides"] == ["encoder=vae", *task[1:], *SMALL[2:]]
    assert "finished" not in found


def test_two_starts_have_two_identities(hydra_config, tmp_path):
    found = set()
    for _ in range(2):
        start.SweepStart().on_multirun_start(hydra_config())
        found.add(plan.read_manifest(tmp_path / "grid")["id"])
        start._started.lock.release()
    assert len(found) == 2


def test_a_folder_in_which_a_sweep_is_at_work_is_refused(hydra_config, tmp_path):
    (tmp_path / "grid").mkdir()
    with (
        FileLock(tmp_path / "grid" / ".lock"),
        pytest.raises(SystemExit, match=r"another sweep is at work.*hydra\.sweep\.dir"),
    ):
        start.SweepStart().on_multirun_start(hydra_config())


def test_a_plugin_that_is_not_installed_is_named_before_anything_else(
    hydra_config, tmp_path, monkeypatch
):
    config = hydra_config("hydra/launcher=joblib")
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"hydra/launcher=joblib needs .* 'stitching\[joblib\]'"):
        start.SweepStart().on_multirun_start(config)
    assert not (tmp_path / "grid").exists()


def test_every_preset_of_hydra_names_its_plugin():
    presets = {
        f"hydra/{path.parent.name}={path.stem}"
        for path in (configuration.conf_dir() / "hydra").glob("*/*.yaml")
    }
    assert presets == set(start._PLUGINS)


def test_a_folder_that_cannot_be_written_is_one_message(hydra_config, tmp_path):
    (tmp_path / "grid").write_text("a file")
    with pytest.raises(SystemExit, match="cannot write to the folder of the sweep"):
        start.SweepStart().on_multirun_start(hydra_config())


def started(monkeypatch, folder):
    write_json(folder / "sweep.json", {"id": "s1", "started": start.now(), "command": []})
    tracker = OmegaConf.create({"_target_": "stitching.tracking.NoTracker"})
    lock = FileLock(folder / ".lock")
    monkeypatch.setattr(start, "_started", start._Started(folder, lock, tracker))


def test_a_sweep_over_another_setting_keeps_its_rows_and_says_why_there_is_no_table(
    tmp_path, monkeypatch, capsys
):
    for number, rmse in enumerate((0.1, 0.2)):
        make_cell(
            tmp_path, "vae", "nf", number, image__rmse=rmse, dtype=f"float{32 + 32 * number}"
        )
    started(monkeypatch, tmp_path)
    assert start.end_sweep(interrupted=False) is False
    assert "differ in image/rmse, dtype" in capsys.readouterr().err
    assert len(cells_of(tmp_path)) == 2
    assert not (tmp_path / "summary.csv").exists()


def test_a_sweep_without_a_finished_cell_has_no_tables(tmp_path, monkeypatch, capsys):
    make_cell(tmp_path, "vae", "nf", 0, state="failed")
    started(monkeypatch, tmp_path)
    assert start.end_sweep(interrupted=False) is False
    assert "no tables: " in capsys.readouterr().err


def test_files_that_appear_while_a_sweep_runs_stay_and_the_report_says_what_to_do(
    tmp_path, monkeypatch, capsys
):
    make_cell(tmp_path, "vae", "nf", 0)
    started(monkeypatch, tmp_path)
    (tmp_path / "claims.json").write_text("mine")
    assert start.end_sweep(interrupted=False) is False
    error = capsys.readouterr().err
    assert "holds claims.json, which this project did not write" in error
    assert f"python -m stitching.report {tmp_path}" in error
    assert (tmp_path / "claims.json").read_text() == "mine"
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["summary.csv", "report.json", "figures/figure1.svg"])
def test_a_folder_with_a_file_that_the_report_would_replace_is_refused(
    hydra_config, tmp_path, name
):
    mine = tmp_path / "grid" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(SystemExit, match=rf"holds {name}.*set hydra\.sweep\.dir"):
        start.SweepStart().on_multirun_start(hydra_config())
    assert [path for path in (tmp_path / "grid").rglob("*") if path.is_file()] == [mine]


def test_the_end_is_written_down_unless_the_user_stopped_it(tmp_path, monkeypatch):
    make_cell(tmp_path, "vae", "nf", 0)
    started(monkeypatch, tmp_path)
    assert start.end_sweep(interrupted=True) is True
    found = plan.read_manifest(tmp_path)
    assert "interrupted" in found
    assert "finished" not in found
    start.end_sweep(interrupted=False)
    assert "finished" in plan.read_manifest(tmp_path)


def test_without_a_sweep_there_is_no_report(capsys):
    start.end_sweep(interrupted=False)
    assert capsys.readouterr().out == ""


def test_resuming_repeats_the_command_in_the_same_folder(tmp_path):
    (tmp_path / "launch.py").write_text("")
    folder = tmp_path / "o'dd, [dir]"
    folder.mkdir()
    command = ["launch.py", "-m", "encoder=vae,nf", "hydra.sweep.dir=old", "resume=false"]
    write_json(folder / "sweep.json", {"command": command, "cwd": str(tmp_path)})
    arguments, cwd = resume.command(folder, ["hydra/launcher=joblib"])
    assert cwd == tmp_path
    added = [f'hydra.sweep.dir="{folder}"', "hydra/launcher=joblib"]
    assert arguments == ["launch.py", "-m", "encoder=vae,nf", *added]


def test_resuming_what_the_program_started_needs_no_script(tmp_path):
    words = ["stitching", "run", "-m", "encoder=vae,nf"]
    write_json(tmp_path / "sweep.json", {"command": words, "cwd": str(tmp_path)})
    arguments, _ = resume.command(tmp_path)
    assert arguments == ["-m", *words, f"hydra.sweep.dir={tmp_path}"]


def test_resuming_without_a_manifest_is_one_message(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing or damaged"):
        resume.command(tmp_path)


def test_resuming_what_is_gone_is_one_message(tmp_path):
    write_json(tmp_path / "sweep.json", {"command": ["launch.py"], "cwd": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match="is gone"):
        resume.command(tmp_path)


def test_globs_are_planned_as_hydra_expands_them(hydra_config):
    config = hydra_config(task=["encoder=glob(v*)", "decoder=vae"])
    names = [job[0] for job in planning.planned_jobs(config)]
    assert {"encoder=vae", "encoder=vqvae"} <= set(names)


def test_a_glob_leaves_out_what_cannot_run_here_and_says_so_once(hydra_config, tmp_path, caplog):
    task = ["encoder=glob([ran*,nf-2])", "decoder=pixels", *SMALL[2:]]
    start.SweepStart().on_multirun_start(config := hydra_config(task=task))
    (line,) = [text for text in caplog.messages if "glob" in text]
    missing = "no weight file zoo:faces-2/nf.safetensors"
    assert line == f"{task[0]} picks random; left out: nf-2 ({missing})"
    found = json.loads((tmp_path / "grid" / "sweep.json").read_text())
    assert [job["folder"] for job in found["jobs"]] == ["random-to-pixels_0"]
    # Hydra's sweeper and a later resume get the models, whatever can run by then.
    assert config.hydra.overrides.task[0] == found["overrides"][0] == "encoder=random"


def test_a_glob_of_which_nothing_can_run_is_refused(hydra_config, tmp_path):
    task = ["encoder=glob(nf-2)", "decoder=pixels", *SMALL[2:]]
    with pytest.raises(SystemExit, match="encoder=nf-2: no weight file"):
        start.SweepStart().on_multirun_start(hydra_config(task=task))
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("optimization_results.yaml", ["hydra/sweeper=optuna"]),
        ("cells/0/.hydra/config.yaml", ["hydra.sweep.subdir=cells/0"]),
        ("cells/0/launch.log", ["hydra.job.name=launch", "hydra.sweep.subdir=cells/0"]),
    ],
)
def test_files_that_hydra_would_replace_refuse_the_sweep(hydra_config, tmp_path, name, options):
    path = tmp_path / "grid" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(SystemExit, match=path.name):
        start.SweepStart().on_multirun_start(hydra_config(*options))
    assert path.read_text() == "mine"
    assert not (tmp_path / "grid" / "sweep.json").exists()


@pytest.mark.parametrize("subdir", ["../elsewhere", "/elsewhere"])
def test_cells_outside_of_the_sweep_are_refused(hydra_config, subdir):
    config = hydra_config(f"hydra.sweep.subdir={subdir}")
    with pytest.raises(SystemExit, match="leads out of the sweep's folder"):
        start.SweepStart().on_multirun_start(config)


def test_a_training_is_not_logged_over_files_of_other_origin(hydra_config, tmp_path):
    config = compose("train", return_hydra_config=True)
    with open_dict(config):
        config.hydra.run.dir, config.hydra.job.name = str(tmp_path / "run"), "train"
    for _ in range(2):  # a second one goes to the same folder
        start.TrainingStart().on_run_start(config)
    for name in (".hydra/config.yaml", "train.log"):
        folder = tmp_path / name.strip(".").partition("/")[0]
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        config.hydra.run.dir = str(folder)
        with pytest.raises(SystemExit, match=r"set hydra\.run\.dir to another folder"):
            start.TrainingStart().on_run_start(config)
        assert [path.name for path in folder.iterdir()] == [name.partition("/")[0]]

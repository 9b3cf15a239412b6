import json
import shlex

from stitching.records.plan import SweepPlan, read_sweep
from stitching.results.commands import command_of, to_resume
from stitching.results.reading import read_cells
from tests.report.page.made import cell, read


def manifest(root, command, overrides, *jobs, folder="vae-to-nf_0"):
    job = {"number": 0, "folder": folder, "encoder": "vae", "decoder": "nf", "overrides": jobs}
    facts = {"id": "s1", "command": command, "cwd": "/w", "overrides": overrides, "jobs": [job]}
    (root / "sweep.json").write_text(json.dumps(facts))


def command(root):
    (found,), _ = read_cells(root)
    line, known = command_of(found, read_sweep(root))
    return shlex.split(line), known


def test_the_cells_own_values_replace_those_of_the_sweep(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    manifest(
        tmp_path, ["launch.py", "-m", "encoder=vae,nf", "data.n_test=64"],
        ["encoder=vae,nf", "decoder=nf", "data.n_test=64"], "encoder=vae", "decoder=nf",
    )  # fmt: skip
    line = ["python", "launch.py", "data.n_test=64", "encoder=vae", "decoder=nf", "resume=false"]
    assert command(tmp_path) == (line, True)


def test_an_experiment_does_not_start_a_sweep(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    manifest(tmp_path, ["launch.py"], ["experiment=grid"], "encoder=vae", "decoder=nf")
    assert "hydra.mode=RUN" in command(tmp_path)[0]


def test_a_folder_of_configurations_is_kept_and_a_launcher_is_not(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    words = ["launch.py", "-m", "--config-dir", "my dir", "hydra/launcher=joblib"]
    manifest(tmp_path, words, ["resume=true", "hydra/launcher=joblib"], "encoder=vae")
    line = ["python", "launch.py", "--config-dir", "my dir", "encoder=vae", "resume=false"]
    assert command(tmp_path)[0] == line


def test_words_are_quoted_for_a_shell(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    manifest(tmp_path, ["launch.py"], ["data.root='a b; rm $HOME'"], "encoder=vae")
    assert "data.root='a b; rm $HOME'" in command(tmp_path)[0]


def test_of_an_older_sweep_hydras_record_tells(tmp_path):
    folder = cell(tmp_path, "vae", "nf", 0)
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("- encoder=vae\n- map.alpha=3\n")
    line = ["python", "launch.py", "encoder=vae", "map.alpha=3", "resume=false"]
    assert command(tmp_path) == (line, True)


def test_without_any_record_only_models_are_named_and_the_page_says_so(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    line = ["python", "launch.py", "encoder=vae", "decoder=nf", "resume=false"]
    assert command(tmp_path) == (line, False)
    assert read(tmp_path).chunks["view-0"]["unsure"] == [0]


def test_a_planned_cell_that_never_started_has_a_command(tmp_path):
    cell(tmp_path, "nf", "nf", 1)
    manifest(tmp_path, ["launch.py"], [], "encoder=vae", "decoder=nf")
    page = read(tmp_path)
    view = page.chunks["view-0"]
    place = view["state"].index("missing")
    assert view["command"][place] == "python launch.py encoder=vae decoder=nf resume=false"
    assert view["folder"][place] == ""
    assert page.index["counts"] == {"done": 1, "missing": 1}


def test_a_folder_that_hydra_would_take_apart_is_quoted_for_it(tmp_path):
    folder = tmp_path / "o'dd, [dir]"
    plan = SweepPlan("s", command=("launch.py", "-m", "hydra.sweep.dir=old"), cwd="/w")
    make, again = to_resume(folder, plan)
    assert shlex.split(make) == ["make", "resume", f"DIR={folder}"]
    words = ["python", "launch.py", "-m", f'hydra.sweep.dir="{folder}"']
    assert shlex.split(again) == ["cd", "/w", "&&", *words]


def test_what_the_program_started_is_shown_and_continued_with_it(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    words = ["stitching", "run", "--config-dir", "my dir", "experiment=grid"]
    manifest(tmp_path, words, ["experiment=grid"], "encoder=vae", "decoder=nf")
    line, _ = command(tmp_path)
    assert line[:4] == ["stitching", "run", "--config-dir", "my dir"]
    _, again = to_resume(tmp_path, read_sweep(tmp_path))
    assert again == f"cd /w && {shlex.join(words)} hydra.sweep.dir={tmp_path}"


def test_outside_a_checkout_there_is_no_makefile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert to_resume(tmp_path, None) == [f"stitching resume {tmp_path}"]


def test_a_damaged_plan_is_noted(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    (tmp_path / "sweep.json").write_text("{")
    assert any("sweep.json cannot be read" in note for note in read(tmp_path).index["notes"])

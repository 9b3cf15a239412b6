"""Files of other origin in the folder of a sweep stay there, byte for byte."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stitching import claims
from stitching.records.ledger import ForeignFilesError
from stitching.report import command, grid_report
from stitching.report.page import write_page
from stitching.results.output import RECORD, Output
from stitching.results.reading import read_cells
from stitching.sync import find_runs
from stitching.tracking import Tracker
from stitching.tracking.summary import write_summary
from tests.report.made import make_cell, make_sweep

#: Names that commands write to themselves, or beside; the rest of a tree is drawn at random.
NAMES = [
    "grid.csv", "summary.csv", "grid.parquet", "table.md", "table.tex", "tables.md", "tables.tex",
    "protocols.md", "protocols.csv",
    "pictures.png", "heatmap_latent_r2.png", "heatmap_image_rmse.png", "heatmap_mine.png",
    "curve_image_rmse.png", "figures/figure1.svg", "figures/figure3.png", "figures/mine.pdf",
    "report.html", "claims.json", "claims.md", RECORD, "report", "figures", "wandb", "notes.txt",
    "report/strict/grid.csv", "report/gone/grid.csv", "report/gone/figures/figure2.svg",
    "wandb/offline-run-1-abcdefgh/run-abcdefgh.wandb", "wandb/latest/run.log",
    "wandb/offline-run-0-aaaaaaaaaaaa/run-aaaaaaaaaaaa.wandb",
    "wandb/offline-run-0-aaaaaaaaaaaa/mine.txt", "grid.csv.kept-1", ".grid.csv.1.0.partial",
]  # fmt: skip

PNG = b"\x89PNG\r\n\x1a\n"

names = st.sampled_from(NAMES) | st.text("ab.", min_size=1, max_size=3).map(lambda x: f"own/x{x}")
heads = st.sampled_from([b"", b"encoder,decoder,", PNG, b"<?xml ", b"# Claims\n"])
contents = st.builds(bytes.__add__, heads, st.binary(max_size=8))
trees = st.dictionaries(names, contents, max_size=4)


class Runs(Tracker):
    """Leaves the folder of a run, as wandb does."""

    def _start(self, start):
        self.place = f"wandb/offline-run-0-{start.id}"
        (start.dir / self.place).mkdir(parents=True, exist_ok=True)
        (start.dir / self.place / f"run-{start.id}.wandb").write_bytes(b"a run")

    place = None


def change(folder):
    """Give the sweep other measures, and so other files in its next report."""
    shutil.rmtree(folder / "vae-to-nf_0", ignore_errors=True)
    make_cell(folder, "vae", "nf", 0, latent__r2=0.5, image__rmse=None)


def protocols(folder):
    for number, protocol in enumerate(("strict", "paper")):
        shutil.rmtree(folder / f"vae-to-vae_{number + 2}", ignore_errors=True)
        make_cell(folder, "vae", "vae", number + 2, protocol=protocol)


COMMANDS = {
    "report": lambda folder: command.main([str(folder)]),
    "claims": lambda folder: claims.answer([folder]),
    "page": lambda folder: write_page(folder, *read_cells(folder)),
    "summary": lambda folder: write_summary(folder, Runs()),
    "sync": find_runs,
    "change": change,
    "protocols": protocols,
}


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Drawing takes longest, and what is drawn does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_report, "heatmap", lambda *_, **__: PNG + b"a heatmap")
        patch.setattr(
            grid_report, "draw_figures", lambda _: {"figures/figure3.png": PNG + b"a figure"}
        )
        yield


def place(folder, tree, record):
    """Put files into a folder; return those of them that nothing of the project's was under."""
    placed = {}
    for name, data in tree.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # a file where a folder would have to be, or the reverse
            continue
        if name not in record:
            placed[name] = data
    return placed


def files_of(folder):
    return {str(x.relative_to(folder)): x.read_bytes() for x in folder.rglob("*") if x.is_file()}


@settings(deadline=None, max_examples=40)
@given(trees, st.lists(st.tuples(st.sampled_from([*COMMANDS]), trees), min_size=1, max_size=3))
def test_files_of_other_origin_survive_every_command(before, steps):
    with TemporaryDirectory() as root:
        folder = make_sweep(Path(root), ("vae",), ("nf",))
        mine = place(folder, before, {})
        for command, between in steps:
            try:
                COMMANDS[command](folder)
                event("done")
            except ForeignFilesError as error:
                event(f"refused: {str(error).count('move them away')}")
            except ValueError as error:  # of the cells: `change` and `protocols` make odd sweeps
                event(f"no report: {str(error).split()[0]}")
            found = files_of(folder)
            aside = {name.rpartition(".kept-")[0]: data for name, data in found.items()}
            for name, data in mine.items():
                assert data in (found.get(name), aside.get(name)), name
            mine |= place(folder, between, Output(folder)._ledger.listed())


def reported(folder):
    command.main([str(folder)])
    return files_of(folder)


@pytest.mark.parametrize("name", [RECORD, "summary.csv", "claims.md", "report.html", "figures"])
def test_nothing_is_written_where_a_name_is_taken(tmp_path, name):
    make_sweep(tmp_path, ("vae",), ("nf",))
    (tmp_path / name).write_text("mine")
    before = files_of(tmp_path)
    with pytest.raises(ForeignFilesError, match=name):
        command.main([str(tmp_path)])
    assert files_of(tmp_path) == before


def test_a_refusal_names_two_files_and_what_to_do(tmp_path):
    make_sweep(tmp_path, ("vae",), ("nf",))
    for name in ("summary.csv", "table.md", "pictures.png"):
        (tmp_path / name).write_text("mine")
    words = r"holds summary\.csv and table\.md and 1 more, .* rename them, or move them away"
    with pytest.raises(ForeignFilesError, match=words):
        command.main([str(tmp_path)])


def test_files_below_the_folder_of_a_protocol_are_found_too(tmp_path):
    protocols(tmp_path)
    mine = tmp_path / "report" / "paper" / "table.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ForeignFilesError, match=r"holds report/paper/table\.md"):
        command.main([str(tmp_path)])
    assert not (tmp_path / "grid.parquet").exists()


def test_two_protocols_with_one_name_of_a_folder_are_refused(tmp_path):
    for number, protocol in enumerate(("a b", "a_b")):
        make_cell(tmp_path, "vae", "nf", number, protocol=protocol)
    with pytest.raises(ValueError, match="'a b' and 'a_b' would have the same folder report/a_b"):
        command.report_sweeps([tmp_path])


def test_reports_at_the_same_time_lose_nothing_of_the_record(tmp_path):
    def write(number):
        Output(tmp_path).write({f"heatmap_{number}.png": b"a heatmap"})

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(write, range(16))]
    assert len(Output(tmp_path).found("heatmap_*.png")) == 16


def test_a_second_report_removes_what_the_first_wrote_and_nothing_else(tmp_path):
    protocols(tmp_path)
    first = reported(tmp_path)
    mine = tmp_path / "report" / "paper" / "mine.txt"
    mine.touch()
    shutil.rmtree(tmp_path / "vae-to-vae_3")
    second = reported(tmp_path)
    assert {"report/strict/table.md", "report/paper/table.md", "protocols.md"} <= first.keys()
    assert [name for name in second if "protocols" in name or "report/" in name] == [
        "report/paper/mine.txt"
    ]


def test_a_file_that_was_edited_is_set_aside(tmp_path, caplog):
    make_sweep(tmp_path, ("vae",), ("nf",))
    reported(tmp_path)
    (tmp_path / "table.md").write_text("my notes")
    assert reported(tmp_path)["table.md.kept-1"] == b"my notes"
    assert "kept as table.md.kept-1" in caplog.text


def test_the_report_of_an_earlier_version_is_taken_over(tmp_path):
    """It has no record."""
    protocols(tmp_path)
    first = reported(tmp_path)
    (tmp_path / RECORD).unlink()
    second = reported(tmp_path)
    del first[RECORD], second[RECORD]
    assert second == first
    assert {*Output(tmp_path)._ledger.listed()} == {*first} - {
        name for name in first if name.startswith("vae-to-vae_")
    }


def test_what_differs_in_the_report_of_an_earlier_version_is_set_aside(tmp_path):
    make_sweep(tmp_path, ("vae",), ("nf",))
    reported(tmp_path)
    (tmp_path / RECORD).unlink()
    old = b"encoder,decoder,image/rmse\nvae,nf,0.1\n"
    (tmp_path / "grid.csv").write_bytes(old)
    second = reported(tmp_path)
    assert second["grid.csv.kept-1"] == old
    assert [name for name in second if "grid.csv" in name] == ["grid.csv.kept-1"]


def test_pictures_without_a_table_of_a_report_are_of_other_origin(tmp_path):
    make_sweep(tmp_path, ("vae",), ("nf",))
    (tmp_path / "heatmap_latent_r2.png").write_bytes(PNG + b"mine")
    with pytest.raises(ForeignFilesError, match="heatmap_latent_r2"):
        command.main([str(tmp_path)])

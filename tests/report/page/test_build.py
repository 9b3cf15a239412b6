import base64
import hashlib
import re

import pytest

from stitching.report import read_grid
from stitching.report.limits import Limits
from stitching.report.page import write_page
from stitching.report.tables import grid_texts
from stitching.results.measures import measure_of
from tests.report.made import make_cell
from tests.report.page.made import NASTY, Page, cell, failed, page_of, read, sweep


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def page(root):
    return read(root)


def test_numbers_are_those_of_the_tables(root, page):
    grid = read_grid(root)
    for key in ("image/rmse", "probe/kappa"):
        texts = [entry for row in grid_texts(grid, measure_of(key)) for entry in row]
        column = page.chunks["view-0"]["measures"][key]
        assert column["text"] == [text for text, _, _ in texts]
        signs = [sign for _, _, sign in texts]
        assert column["signs"] == (signs if any(signs) else [])  # random beats the others here
        assert [f"[{x}]" if x else "" for x in column["interval"]] == [x for _, x, _ in texts]


def test_a_cell_without_a_result_has_a_word_and_a_reason(page):
    view = page.chunks["view-0"]
    assert view["state"] == ["", "failed", "", "", "", ""]
    assert view["reason"][1] == "ValueError: broken"


def test_details_hold_attributes_curves_and_tracebacks(page):
    first, second = page.chunks["detail-0-0"]
    assert set(first["attributes"]["probe/kappa"]) == {"Male", "No_Beard"}
    assert first["curves"]["penalty_curve"]["alpha"] == [0.1, 1, 10]
    assert first["curves"]["rank_curve"]["image/lpips"] == [0.5, None, 0.2]
    assert "Traceback" in second["traceback"]


def test_details_hold_the_measures_at_the_other_penalty(tmp_path):
    flat = {
        "map__flat": 1, "alpha": 268.77, "map__flat_alpha": 3.8995, "map__flat_gap": 0.00779,
        "flat__image__rmse": 0.0553, "flat__image__rmse.low": 0.053,
        "flat__image__rmse.high": 0.058,
    }  # fmt: skip
    cell(tmp_path, "a", "b", 0, **flat)
    cell(tmp_path, "b", "a", 1)
    page = read(tmp_path)
    found = page.chunks["detail-0-0"][0]["flat"]
    assert (found["alpha"], found["other"], found["gap"]) == (269, 3.9, 0.00779)
    assert found["measures"] == {"image/rmse": ["0.0553", "0.0530, 0.0580"]}
    assert "flat" not in page.chunks["detail-0-1"][1]
    assert "§" in page.index["meanings"]


def test_each_finished_cell_has_its_picture(page):
    places = {name for name in page.chunks if name.startswith("picture-")}
    assert places == {f"picture-0-{place}" for place in (0, 2, 3, 4, 5)}
    assert page.chunks["picture-0-0"]["url"].startswith("data:image/webp;base64,")


def test_the_head_counts_cells(page):
    assert page.index["counts"] == {"done": 5, "failed": 1}
    assert ["data", "faces"] in page.index["facts"]


def test_equal_failures_are_one_group(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    for number, decoder in enumerate(("nf", "dm", "gan"), 1):
        failed(tmp_path, "vae", decoder, number, error="E: x" if decoder != "gan" else "E: y")
    groups = read(tmp_path).index["failures"]
    assert [(group["reason"], len(group["cells"])) for group in groups] == [
        ("E: x", 2),
        ("E: y", 1),
    ]


def test_the_same_files_give_the_same_bytes(root, tmp_path):
    first = page_of(root, out=tmp_path / "a.html").read_bytes()
    assert page_of(root, out=tmp_path / "b.html").read_bytes() == first.replace(
        b"a.html", b"b.html"
    )


def test_what_users_wrote_ends_no_script(tmp_path):
    cell(tmp_path, "vae", "vae", 0, data=NASTY)
    failed(tmp_path, "vae", "nf", 1, error=f"ValueError: {NASTY}")
    html = page_of(tmp_path).read_text()
    assert html.count("<script") == html.count("</script>")
    assert "<b>bold" not in html
    assert "<!--" not in html


def test_what_users_wrote_comes_back_as_it_was(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    failed(tmp_path, "vae", "nf", 1, error=f"ValueError: {NASTY}")
    page = read(tmp_path)
    assert page.index["failures"][0]["reason"] == f"ValueError: {NASTY}"
    assert NASTY in page.chunks["detail-0-0"][1]["traceback"]


def test_a_name_that_looks_like_a_place_of_the_template_stays_a_name(tmp_path):
    root = tmp_path / "{{program}}"
    root.mkdir()
    cell(root, "vae", "vae", 0)
    assert "<h1>{{program}}</h1>" in page_of(root).read_text()


def test_the_policy_allows_this_program_and_no_request(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.html)[1]
    program = page.html[page.html.rindex("<script>") + 8 : page.html.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in policy
    assert policy.startswith("default-src &#x27;none&#x27;")


def test_no_element_names_another_machine(page):
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.html)


def test_without_scripts_the_page_names_the_table(page):
    assert re.search(r'<noscript>.*href="table.md"', page.html)


def test_links_lead_from_the_page_to_cells(root, tmp_path):
    page = Page(page_of(root, out=root / "below" / "page.html"))
    assert page.chunks["view-0"]["folder"][0] == "../random-to-vae_0"


def test_pictures_beyond_the_cap_are_left_out_and_said_so(root):
    page = read(root, limits=Limits(pictures_bytes=0))
    assert not any(name.startswith("picture-") for name in page.chunks)
    assert any(note.startswith("pictures of 5 cells") for note in page.index["notes"])


def test_of_a_large_sweep_the_first_cells_show_pictures(root):
    page = read(root, limits=Limits(pictures_cells=4, pictures_first=2))
    assert {name for name in page.chunks if name.startswith("picture-")} == {
        "picture-0-0",
        "picture-0-2",
    }


def test_details_beyond_the_cap_are_left_out_and_said_so(root):
    page = read(root, limits=Limits(details_bytes=10))
    assert not any(name.startswith("detail-") for name in page.chunks)
    assert any(note.startswith("details of 6 cells") for note in page.index["notes"])


def test_a_long_traceback_shows_its_end(root):
    page = read(root, limits=Limits(traceback=12))
    assert page.chunks["detail-0-0"][1]["traceback"] == "[...]\nrror: broken"


def test_a_sweep_in_which_nothing_finished_has_a_page(tmp_path):
    failed(tmp_path, "vae", "nf", 0)
    failed(tmp_path, "nf", "nf", 1)
    page = read(tmp_path)
    assert page.index["measures"] == []
    assert page.chunks["view-0"]["state"] == ["failed", "failed"]
    assert page.index["counts"] == {"done": 0, "failed": 2}


def test_a_single_cell_has_a_page(tmp_path):
    folder = cell(tmp_path, "vae", "nf", 0)
    page = read(folder)
    assert page.chunks["view-0"]["encoders"] == ["vae"]


def test_a_cell_of_before_there_were_configurations_has_a_page(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0)
    page = read(tmp_path)
    assert page.chunks["view-0"]["config"] == [[]]


def test_pairs_that_were_never_started_are_missing(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    cell(tmp_path, "nf", "nf", 1)
    page = read(tmp_path)
    assert page.index["missing"] == ["vae-to-nf", "nf-to-vae"]
    assert page.index["counts"] == {"done": 2, "missing": 2}


def test_without_cells_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no cells to show"):
        write_page(tmp_path, [])


def test_a_value_that_is_not_finite_reads_invalid_and_has_no_colour(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, image__ssim=float("nan"))
    make_cell(tmp_path, "nf", "nf", 1, image__ssim=0.5)
    column = read(tmp_path).chunks["view-0"]["measures"]["image/ssim"]
    assert column["text"] == ["invalid", "0.500"]
    assert column["value"] == [None, 0.5]

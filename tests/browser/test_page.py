import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.browser.waits import until
from tests.report.page.made import NASTY, failed, page_of

pytestmark = pytest.mark.browser

CONTRAST = (Path(__file__).parent / "contrast.js").read_text().partition("\n")[2]


def poor(page):
    """Texts below 4.5 to 1, which is asked of text of any size."""
    found = page.evaluate(CONTRAST)
    assert len(found) > 20
    return [x for x in found if x["ratio"] is None or x["ratio"] < 4.5]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("measure", ["image/rmse", "probe/kappa"])
def test_all_text_has_contrast(plain, visit, theme, measure):
    page = visit(plain, f"#measure={measure}", color_scheme=theme)
    page.evaluate("document.querySelectorAll('details').forEach((x) => { x.open = true; })")
    page.hover(".heat button >> nth=0")
    assert poor(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("cell", ["vae/nf", "vae/dm"])
def test_all_text_of_a_cell_has_contrast(plain, visit, theme, cell):
    page = visit(plain, f"#cell={cell}", color_scheme=theme)
    page.wait_for_selector("dialog[open]")
    page.evaluate("document.querySelectorAll('details').forEach((x) => { x.open = true; })")
    assert poor(page) == []


def test_ink_has_contrast_on_every_colour_of_the_scale(plain, visit):
    page = visit(plain)
    colours = page.evaluate("JSON.parse(document.getElementById('index').textContent).palette")

    def light(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    best = [max(1.05 / (light(x) + 0.05), (light(x) + 0.05) / 0.05) for x in colours]
    assert min(best) >= 4.5


def test_the_theme_follows_the_system_until_one_is_chosen_which_is_kept(plain, visit):
    page = visit(plain, color_scheme="dark")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.click("#theme")
    assert page.evaluate(theme) == "light"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(theme) == "light"


def test_a_phone_does_not_scroll_sideways_but_in_tables(plain, visit):
    page = visit(plain, width=360, height=740)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == 360
    page.locator(".heat button").first.click()
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 360


def test_on_a_phone_the_first_column_stays(plain, visit):
    page = visit(plain, "#intervals=yes", width=260, height=740)
    place = "document.querySelector('.heat th[scope=row]').getBoundingClientRect().left"
    before = page.evaluate(place)
    page.evaluate("document.querySelector('.beside .box').scrollLeft = 80")
    assert page.evaluate("document.querySelector('.beside .box').scrollLeft") > 0
    assert abs(page.evaluate(place) - before) <= 2  # the space between cells


def test_print_shows_table_and_claims_without_controls(plain, visit):
    page = visit(plain, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.is_hidden("#controls")
    assert page.is_visible(".heat")
    assert page.is_visible(".claim")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert poor(page) == []


def test_print_makes_a_short_pdf(plain, visit):
    pdf = visit(plain).pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 4


def test_on_paper_a_wide_table_is_made_to_fit(wide, visit):
    page = visit(wide)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 718


def test_a_figure_is_saved_as_svg(plain, visit, tmp_path):
    page = visit(plain)
    with page.expect_download() as found:
        page.click("#figures button:has-text('SVG')")
    found.value.save_as(tmp_path / "x.svg")
    assert found.value.suggested_filename == "figure3.svg"
    assert ElementTree.parse(tmp_path / "x.svg").getroot().get("width") == "120"


def test_a_figure_is_saved_as_png_three_times_as_large(plain, visit, tmp_path):
    page = visit(plain)
    with page.expect_download() as found:
        page.click("#figures button:has-text('PNG')")
    found.value.save_as(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (360, 180)


def test_claims_show_verdicts_and_what_to_run(plain, visit):
    text = visit(plain).inner_text("#claims")
    assert all(x in text for x in ("supported", "cannot tell", "experiment=grid", "above 0.5"))


def test_failures_are_grouped_and_inert(plain, visit):
    page = visit(plain)
    assert NASTY in page.text_content("#problems")
    assert "1 failed: ValueError: broken" in page.text_content("#problems")
    assert page.locator("b:has-text('bold'), img[src=x]").count() == 0


def test_a_sweep_in_which_nothing_finished_shows_why(tmp_path, visit):
    failed(tmp_path, "vae", "nf", 0)
    page = visit(page_of(tmp_path))
    assert page.inner_text(".heat td") == "failed"
    assert "ValueError: broken" in page.inner_text("#problems")
    assert page.locator("#measure").count() == 0


def test_without_scripts_there_is_a_link_to_the_table(plain, browser):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(plain.as_uri())
        assert page.get_attribute("noscript a", "href") == "table.md"


def test_every_control_has_a_label_and_the_page_has_landmarks(plain, visit):
    page = visit(plain)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select, input')].filter((x) => !x.labels.length).length"
    )
    assert unnamed == 0
    assert page.get_attribute("html", "lang") == "en"
    assert page.title() != ""
    assert page.locator("main, header, nav").count() == 3


def test_motion_is_reduced_where_the_reader_asks_for_it(plain, visit):
    page = visit(plain, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_the_grid_is_there_within_two_seconds(plain, visit):
    page = visit(plain)
    assert page.evaluate("performance.getEntriesByName('grid')[0].startTime") < 2000


def test_the_finding_is_first_and_in_words(plain, visit):
    page = visit(plain)
    assert page.locator("main > section").first.get_attribute("id") == "finding"
    assert "no cell of two different trained models" not in page.inner_text("#finding")


def test_a_picture_shows_its_number_and_opens_its_cell(plain, visit):
    page = visit(plain, "#measure=image/rmse")
    picture = page.locator("#pictures-body td button:has(img)").first
    picture.hover()
    assert "vae → vae" in page.inner_text("#tip")
    assert "95 % interval" in page.inner_text("#tip")
    picture.click()
    page.wait_for_selector("#cell[open]")
    page.keyboard.press("Escape")
    until(page, "document.activeElement.closest('#pictures-body') !== null")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.querySelector('img').alt") == "vae to nf"


def test_a_figure_is_enlarged_by_keyboard(plain, visit):
    page = visit(plain)
    page.focus("#figures .enlarge")
    page.keyboard.press("Enter")
    page.wait_for_selector("#large[open] img.in-light")
    assert page.is_hidden("#large img.in-dark")
    page.keyboard.press("Escape")
    assert page.locator("#large[open]").count() == 0


def test_points_of_two_measures_open_their_cells(plain, visit):
    page = visit(plain)
    page.select_option("#scatter-x", "image/rmse")
    page.select_option("#scatter-y", "probe/kappa")
    assert page.evaluate("document.activeElement.id") == "scatter-y"
    points = page.locator(".scatter circle")
    assert points.count() == 3  # random to vae, vae to nf, nf to vae
    points.first.click()
    page.wait_for_selector("#cell[open]")


def test_claims_that_were_not_run_are_folded(plain, visit):
    page = visit(plain)
    assert page.locator("#claims > div > article").count() == 1


def test_figures_are_dark_in_the_dark_and_light_on_paper(plain, visit):
    page = visit(plain, color_scheme="dark")
    assert page.is_visible("#figures img.in-dark")
    assert page.is_hidden("#figures img.in-light")
    assert "%23ffffff" not in page.get_attribute("#figures img.in-dark", "src")
    page.emulate_media(media="print")
    assert page.is_visible("#figures img.in-light")
    assert page.is_hidden("#figures img.in-dark")

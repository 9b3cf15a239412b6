import pytest

from tests.report.page.made import NASTY

pytestmark = pytest.mark.browser

CELL = "#measure=image/rmse&cell=vae/nf"


def opened(visit, path, words=CELL, **options):
    page = visit(path, words, **options)
    page.wait_for_selector("dialog[open]")
    return page


def test_enter_opens_a_cell_and_escape_gives_the_focus_back(plain, visit):
    page = visit(plain)
    page.locator(".heat button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#cell-title") == "vae → vae"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("vae to vae")


def test_a_click_opens_a_cell_and_the_address_says_which(plain, visit):
    page = visit(plain)
    page.click("button[aria-label^='nf to vae']")
    page.wait_for_selector("dialog[open]")
    assert "cell=nf%2Fvae" in page.url
    page.click("dialog button:has-text('Close')")
    page.wait_for_selector("dialog", state="hidden")
    assert "cell=" not in page.url


def test_a_cell_shows_its_picture(plain, visit):
    page = opened(visit, plain)
    assert page.evaluate("document.querySelector('dialog img').naturalWidth") == 60


def test_a_cell_shows_all_measures_with_intervals(plain, visit):
    page = opened(visit, plain)
    table = page.inner_text("dialog table[aria-label=Measures]")
    assert "Pixel RMSE" in table
    assert "kappa" in table
    assert "[" in table


def test_a_cell_shows_attributes(plain, visit):
    page = opened(visit, plain)
    heads = page.locator("dialog table[aria-label=Attributes] tbody th").all_inner_texts()
    assert heads == ["Male", "No Beard"]


def test_a_cell_shows_its_curves(plain, visit):
    page = opened(visit, plain)
    assert page.locator("dialog svg[role=img]").count() == 2
    assert page.locator("dialog svg .chosen").count() == 1
    points = page.locator("dialog svg polyline.first").first.get_attribute("points")
    assert len(points.split()) == 3
    assert "NaN" not in page.inner_html("dialog .curves")


def test_a_cell_shows_what_differs_in_its_configuration_and_all_of_it(swept, visit):
    page = opened(visit, swept, "#at.data.n_train=200&cell=nf/vae")
    table = page.inner_text("dialog table[aria-label='What differs from most cells']")
    assert "data.n_train" in table
    page.click("dialog summary:has-text('config.yaml')")
    assert "n_train: 200" in page.inner_text("dialog details[open] pre")


def test_the_command_is_copied(plain, visit):
    page = opened(visit, plain, permissions=["clipboard-read", "clipboard-write"])
    page.click("dialog button:has-text('Copy')")
    page.wait_for_selector("dialog button:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("#command")
    assert page.inner_text("#command").startswith("python launch.py")


def test_times_are_shown(plain, visit):
    assert "total (s)" in opened(visit, plain).inner_text("dialog")


def test_a_failed_cell_shows_its_traceback_as_text(plain, visit):
    page = opened(visit, plain, "#cell=vae/dm")
    assert NASTY in page.text_content("dialog pre")
    assert page.locator("b:has-text('bold'), img[src=x]").count() == 0


def test_a_cell_that_was_not_started_says_so(plain, visit):
    assert "was not started" in opened(visit, plain, "#cell=random/dm").inner_text("dialog")

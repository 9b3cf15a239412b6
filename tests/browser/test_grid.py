import pytest

from tests.browser.waits import until

pytestmark = pytest.mark.browser


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def numbers(page):
    return texts(page, ".heat td button span:first-child")


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


def test_the_grid_is_a_table_with_heads(plain, visit):
    page = visit(plain)
    assert texts(page, ".heat thead th[scope=col]")[1:] == ["vae", "nf", "dm"]
    assert texts(page, ".heat tbody th[scope=row]") == ["random", "vae", "nf"]
    assert texts(page, ".heat tbody th[scope=rowgroup]") == ["controls", "models"]


def test_another_measure_shows_other_numbers_and_its_direction(plain, visit):
    page = visit(plain)
    page.select_option("#measure", "image/rmse")
    page.wait_for_selector("h3:has-text('Pixel RMSE')")
    assert "lower is better" in page.inner_text(".about")
    before = numbers(page)
    page.select_option("#measure", "probe/kappa")
    page.wait_for_selector("h3:has-text('kappa')")
    assert numbers(page) != before


def test_intervals_are_shown_and_hidden(plain, visit):
    page = visit(plain)
    assert page.locator(".heat .interval").count() == 5
    page.uncheck("#intervals")
    until(page, "document.querySelectorAll('.heat .interval').length === 0")


def test_rows_are_sorted_by_mean_with_the_best_first(plain, visit):
    page = visit(plain, "#measure=image/rmse")
    page.select_option("#rows", "mean")
    page.wait_for_selector(".heat tbody th small")
    means = [float(x.split()[-1]) for x in texts(page, ".heat tbody:last-of-type th small")]
    assert means == sorted(means)


def test_columns_are_sorted_by_name(plain, visit):
    page = visit(plain)
    page.select_option("#columns", "name")
    until(page, "document.querySelector('.heat th:nth-child(2)').innerText === 'dm'")
    assert texts(page, ".heat thead th")[1:] == ["dm", "nf", "vae"]


def test_numbers_move_with_their_rows(plain, visit):
    page = visit(plain)
    label = "button[aria-label^='vae to nf']"
    before = page.get_attribute(label, "aria-label")
    page.select_option("#rows", "name")
    until(
        page, "document.querySelector('.heat tbody:last-of-type th[scope=row]').innerText === 'nf'"
    )
    assert page.get_attribute(label, "aria-label") == before


@pytest.mark.parametrize(
    ("pair", "word"),
    [("random to nf", "failed"), ("random to dm", "missing"), ("nf to dm", "invalid")],
)
def test_a_cell_without_a_number_is_hatched_and_has_a_word(plain, visit, pair, word):
    page = visit(plain, "#measure=image/rmse")
    button = page.locator(f"button[aria-label^='{pair}']")
    assert button.inner_text() == word
    assert "repeating-linear-gradient" in button.evaluate(
        "x => getComputedStyle(x).backgroundImage"
    )


def test_hover_shows_value_and_interval(plain, visit):
    page = visit(plain, "#measure=image/rmse")
    page.hover("button[aria-label^='vae to nf']")
    page.wait_for_selector("#tip", state="visible")
    assert "95 % interval" in page.inner_text("#tip")
    page.mouse.move(0, 0)
    page.wait_for_selector("#tip", state="hidden")


def test_focus_shows_the_same_and_escape_hides_it(plain, visit):
    page = visit(plain)
    page.locator(".heat button").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#tip", state="visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#tip", state="hidden")


def test_arrows_move_in_the_grid_and_stop_at_its_edge(plain, visit):
    page = visit(plain)
    page.locator(".heat button").first.focus()
    for key, name in (("ArrowDown", "vae to vae"), ("ArrowRight", "vae to nf"),
                      ("ArrowUp", "random to nf"), ("ArrowUp", "random to nf"),
                      ("Home", "random to vae"), ("Control+End", "nf to dm"),
                      ("End", "nf to dm"), ("Control+Home", "random to vae")):  # fmt: skip
        page.keyboard.press(key)
        assert focused(page).startswith(name)


def test_one_cell_of_the_grid_is_in_the_order_of_the_tab_key(plain, visit):
    page = visit(plain)
    assert page.locator(".heat button[tabindex='0']").count() == 1
    page.locator(".heat button").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".heat button[tabindex='0']").count() == 1


def test_the_whole_page_is_reached_by_the_tab_key(plain, visit):
    page = visit(plain)
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert seen[0] == "skip"
    assert {"theme", "measure", "rows", "columns", "intervals"} <= set(seen)


def test_focus_is_visible(plain, visit):
    page = visit(plain)
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_skip_link_leads_to_the_grid_and_keeps_the_address(plain, visit):
    page = visit(plain, "#measure=image/rmse")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "grid"
    assert "measure=image%2Frmse" in page.url


def test_only_what_varies_has_a_control(plain, swept, visit):
    assert visit(plain).locator("#controls select").count() == 3
    page = visit(swept)
    assert texts(page, "#controls label:has(select[id^='at.'])")[0].startswith("protocol")
    assert page.locator("select[id='at.data.n_train'] option").all_inner_texts() == [
        "50", "100", "200",
    ]  # fmt: skip


def test_another_setting_shows_its_own_grid(swept, visit):
    page = visit(swept, "#measure=image/rmse")
    before = numbers(page)
    page.select_option("select[id='at.data.n_train']", "200")
    until(page, "location.hash.includes('n_train=200')")
    until(page, f"document.querySelector('.heat td span').innerText !== '{before[0]}'")
    assert numbers(page) == ["0.200", "0.200"]
    assert page.input_value("select[id='at.protocol']") == "strict"


def test_the_address_restores_the_view(swept, visit):
    first = visit(swept)
    first.select_option("#measure", "probe/kappa")
    first.select_option("select[id='at.protocol']", "paper")
    first.select_option("#rows", "name")
    first.uncheck("#intervals")
    until(first, "location.hash.includes('intervals=no')")
    words = first.evaluate("location.hash")
    second = visit(swept, words)
    assert second.input_value("#measure") == "probe/kappa"
    assert second.input_value("select[id='at.protocol']") == "paper"
    assert second.input_value("#rows") == "name"
    assert not second.is_checked("#intervals")
    assert numbers(second) == numbers(first)


def test_an_address_that_says_nonsense_shows_the_first_view(plain, visit):
    page = visit(plain, "#measure=no/such&rows=sideways&cell=a/b&at.seed=9")
    assert page.locator(".heat").count() == 1
    assert page.input_value("#rows") == "given"


def test_a_change_of_the_address_changes_the_view(plain, visit):
    page = visit(plain)
    page.evaluate("location.hash = '#measure=image/rmse'")
    page.wait_for_selector("h3:has-text('Pixel RMSE')")

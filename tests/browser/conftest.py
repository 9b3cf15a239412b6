"""A real browser, and pages to open in it. Opt in with `-m browser`; skipped without Chromium."""

import json
import shutil

import pytest

from stitching.results.output import Output
from tests.report.made import make_cell, make_pictures
from tests.report.page.made import NASTY, cell, failed, page_of, sweep


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on the PATH")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="60" viewBox="0 0 120 60">'
    '<rect width="120" height="60" fill="#ffffff"/><text x="5" y="30">figure</text></svg>'
)

CLAIM = {
    "id": "C1", "text": "Maps of `nf` keep much", "rule": "a rule",
    "answers": [{
        "folder": "x", "data": "faces", "protocol": "strict", "seeds": {}, "verdict": verdict,
        "reason": "above 0.5", "decisive": [{"name": "n", "value": 0.7, "low": 0.6, "high": 0.8}],
        "facts": [], "notes": ["a note"], "run": ["python launch.py experiment=grid"],
    } for verdict in ("supported", "explained by pixels", "cannot tell", "not run")],
}  # fmt: skip


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A grid with a failure, a figure, claims, a plan, and harmful text wherever users write."""
    root = tmp_path_factory.mktemp("plain")
    sweep(root, **{"latent__r2": 0.5, "latent__r2.low": 0.4, "latent__r2.high": 0.6})
    for folder in root.glob("vae-to-*"):
        make_pictures(folder, (120, 30, 30), size=16)
    failed(root, "vae", "dm", 6, error=f"ValueError: {NASTY}")
    make_cell(root, "nf", "dm", 7, protocol="strict", image__rmse=float("nan"), data=NASTY)
    # As the report writes them: a page shows nothing of other origin.
    claims = json.dumps({"claims": [CLAIM]})
    Output(root).write({"figures/figure3.svg": SVG, "claims.json": claims})
    return page_of(root)


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """Two protocols by three sizes of the training set."""
    root = tmp_path_factory.mktemp("swept")
    number = 0
    for protocol in ("strict", "paper"):
        for n in (50, 100, 200):
            for encoder in ("vae", "nf"):
                settings = {"data__n_train": n, "protocol": protocol}
                folder = cell(root, encoder, "vae", number, settings=settings, mean=n / 1000)
                values = json.loads((folder / "metrics.json").read_text())
                values |= {"protocol": protocol, "n_train": n}
                (folder / "metrics.json").write_text(json.dumps(values))
                number += 1
    return page_of(root)


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """More models than a sheet of paper has room for."""
    root = tmp_path_factory.mktemp("wide")
    names = [f"model-{number:02d}" for number in range(18)]
    for number, name in enumerate(names):
        make_cell(root, "vae", name, number, image__ssim=0.5 + number / 100)
    return page_of(root)


@pytest.fixture
def visit(browser):
    """Open a page in a fresh profile; at the end no error and no request must have been seen."""
    contexts, seen = [], []

    def opened(path, words="", width=1200, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: seen.append(str(error)))
        address = path.as_uri()

        def watch(route):
            url = route.request.url
            if url.startswith(("http", "ws", "ftp")) or (
                url.startswith("file:") and not url.startswith(address)
            ):
                seen.append(f"request: {url}")
                route.abort()
            else:
                route.continue_()

        context.route("**/*", watch)
        page.goto(f"{address}{words}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert seen == []

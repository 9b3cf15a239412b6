"""Pages of the site beside docs/: README, CHANGELOG, DESIGN, and the API reference."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Modules of each page of the reference.
API = {
    "python": (
        "Python",
        [f"stitching.api.{name}" for name in ("models", "data", "cells", "grids")],
    ),
    "models": ("Models", ["stitching.models.base", "stitching.models.trainable"]),
    "maps": ("Maps", ["stitching.maps.base", "stitching.maps.ridge", "stitching.maps.banded"]),
    "measures": (
        "Measures",
        ["stitching.metrics.base", "stitching.metrics.resampling", "stitching.metrics.attributes"],
    ),
    "probes": ("Probes", ["stitching.probes"]),
    "data": (
        "Data",
        [f"stitching.data.{name}" for name in ("base", "folder", "celeba", "memory")],
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    texts = {name: (ROOT / name).read_text("utf-8") for name in ("CHANGELOG.md", "DESIGN.md")}
    texts["index.md"] = (ROOT / "README.md").read_text("utf-8")
    for name, (title, modules) in API.items():
        blocks = [f"::: {module}\n" for module in modules]
        texts[f"api/{name}.md"] = "\n".join([f"# {title}\n", *blocks])
    for name, text in texts.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links between the root and docs/ to where the pages of the site are."""
    return markdown.replace("](docs/", "](").replace("](../", "](")

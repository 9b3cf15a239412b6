"""The documentation: links lead somewhere, commands are ones that Hydra accepts."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from stitching import config

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / x for x in ("README.md", "DESIGN.md"))]
TEXTS = {page: page.read_text("utf-8") for page in PAGES}


def anchors(text):
    """The anchors of headings as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if link.startswith(("http", "mailto")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def commands():
    """Command lines of blocks that start a run, with continued lines joined."""
    for page, text in TEXTS.items():
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith(("python launch.py ", "stitching run ", "stitching grid ")):
                    yield pytest.param(line, id=f"{page.stem}: {line[:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_are_ones_that_hydra_accepts(line):
    words = [x for x in shlex.split(line, comments=True) if "=" in x and not x.startswith("-")]
    if "--config-dir" in line or re.search(r"coder=[A-Z]", line):
        pytest.skip("stands for models of the reader")
    overrides = []
    for override in OverridesParser.create().parse_overrides(words):
        if override.is_sweep_override():
            first = next(iter(override.sweep_string_iterator()))
            overrides.append(f"{override.get_key_element()}={first}")
        else:
            overrides.append(override.input_line)
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        config.register_roles()
        compose("config", overrides)

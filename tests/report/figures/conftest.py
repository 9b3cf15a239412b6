"""Texts on sheets."""

import pytest

from stitching.report.drawing.sheet import Sheet, page_style


@pytest.fixture
def written(monkeypatch):
    """All texts that are written on sheets, in their order, and the options of each."""
    found = []
    for method in ("text", "number"):
        original = getattr(Sheet, method)

        def record(self, x, y, text, *size, original=original, **how):
            found.append((text, how))
            original(self, x, y, text, *size, **how)

        monkeypatch.setattr(Sheet, method, record)
    with page_style():
        yield found

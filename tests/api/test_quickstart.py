"""The notebook of the documentation runs."""

import pytest

from tests.quickstart import executed


@pytest.mark.long
def test_the_quick_start_runs_and_shows_tables_and_pictures(tmp_path):
    outputs = [
        output
        for cell in executed(tmp_path).cells
        for output in cell.get("outputs", [])
        if output.output_type == "execute_result"
    ]
    kinds = [set(output.data) for output in outputs]
    assert sum("text/html" in kind for kind in kinds) == 3
    assert sum("image/png" in kind for kind in kinds) == 4
    assert outputs[-1].data["text/plain"] == "True"
    assert list(tmp_path.iterdir()) == []

"""Learning curves in the report of a sweep over the number of fit images."""

import csv
import io

import numpy as np
from PIL import Image

from stitching.report.command import main
from stitching.report.drawing.learning import learning_curves as draw
from stitching.results.learning import learning_curves
from stitching.results.reading import read_cells
from tests.report.made import drawn, make_cell, scores

SIZES = (100, 200, 400, 800)


def sweep(root):
    for number, n in enumerate(SIZES):
        draws = {
            "latent/r2": drawn(scores(0.9 - 3 / n, shared=0.02)),
            "image/rmse": drawn(scores(0.05 + 1 / n, shared=0.002)),
        }
        for k, encoder in enumerate(("vae", "pixels")):
            config = {"data": {"n_train": n}, "encoder": {"name": encoder}}
            make_cell(root, encoder, "nf", 2 * number + k, config=config, n_train=n, draws=draws)
    return root


def test_a_sweep_over_sizes_has_curves_with_limits_in_files_and_on_the_page(tmp_path):
    assert main([str(sweep(tmp_path))]) == 0
    rows = [*csv.DictReader((tmp_path / "learning.csv").read_text().splitlines())]
    assert [x["n_train"] for x in rows].count("inf") == 4
    assert (tmp_path / "learning.md").read_text().startswith("# Learning curves\n")
    assert (tmp_path / "learning.png").is_file()
    page = (tmp_path / "report.html").read_text()
    assert 'id="chunk-learning-0"' in page
    assert '"learning.csv"' in page


def test_a_sweep_over_another_setting_has_no_learning_curves(tmp_path):
    for number, alpha in enumerate((1.0, 2.0)):
        make_cell(
            tmp_path, "vae", "nf", number, config={"map": {"alpha": alpha}}, image__rmse=alpha
        )
    main([str(tmp_path)])
    assert not (tmp_path / "learning.md").exists()
    assert 'id="chunk-learning-0"' not in (tmp_path / "report.html").read_text()


def test_trained_encoders_have_colours_and_controls_are_grey(tmp_path):
    curves = learning_curves(read_cells(sweep(tmp_path))[0])

    def coloured(chosen):
        with Image.open(io.BytesIO(draw(chosen))) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        return bool((np.ptp(pixels, axis=-1) > 20).any())

    assert coloured([x for x in curves if not x.control])
    assert not coloured([x for x in curves if x.control])

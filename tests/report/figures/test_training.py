"""Figure 6."""

from stitching.report.figures.training import courses, draw_training
from stitching.results.grid import read_grid
from tests.report.figures.grids import make_training, probed, words
from tests.report.made import make_cell


def test_checkpoints_are_ordered_by_images_seen(tmp_path):
    [course] = courses(make_training(tmp_path, (5000, 0, 1000)))
    assert (course.model, list(course.cells)) == ("nf", [0, 1000, 5000])


def test_weights_without_a_count_of_images_are_no_checkpoint(tmp_path):
    make_cell(tmp_path, "random", "nf", 0, **probed())
    make_cell(tmp_path, "random", "nf-5", 1, **probed())
    assert courses(read_grid(tmp_path)) == []


def test_two_models_of_one_kind_are_not_one_training(tmp_path):
    for number, (name, width, seen) in enumerate((("vae", 64, 9000), ("vae-big", 128, 5000))):
        config = {"decoder": {"name": name, "checkpoint": None, "width": width}}
        facts = probed() | {"weights__decoder_images_seen": seen}
        make_cell(tmp_path, "random", name, number, config=config, **facts)
    assert courses(read_grid(tmp_path)) == []


def test_the_end_of_a_training_goes_with_its_checkpoints(tmp_path):
    for number, (at, seen) in enumerate(((1000, 1024), (None, 9000))):
        config = {"decoder": {"name": f"nf-{at}", "checkpoint": at, "weights": "mine/nf"}}
        facts = probed() | {"weights__decoder_images_seen": seen}
        make_cell(tmp_path, "random", f"nf-{at}", number, config=config, **facts)
    [course] = courses(read_grid(tmp_path))
    assert list(course.cells) == [1024, 9000]


def test_different_weights_after_the_same_images_are_no_training(tmp_path):
    for number, (name, seen) in enumerate((("nf-a", 0), ("nf-b", 5000), ("nf-c", 5000))):
        facts = {"weights__decoder_images_seen": seen, "weights__decoder": name}
        make_cell(tmp_path, "random", name, number, **(probed() | facts))
    assert courses(read_grid(tmp_path)) == []


def test_there_is_a_panel_for_the_mean_and_each_attribute(tmp_path, written):
    grid = make_training(tmp_path)
    draw_training(grid, courses(grid)[0])
    texts = words(written)
    assert texts[0] == "Probe accuracy on the own latents of nf along its training"
    assert {"mean over attributes", "Male", "No Beard"} <= set(texts)
    assert any("after 0, 1,000, 5,000 images" in text for text in texts)


def test_attributes_without_a_probe_have_no_panel(tmp_path, written):
    grid = make_training(tmp_path, probe__missing__Bald="too few")
    draw_training(grid, courses(grid)[0])
    assert "Bald" not in words(written)
    assert "No probe of Bald: too few." in words(written)


def test_points_are_the_accuracies_of_the_cells(tmp_path):
    for number, (seen, own) in enumerate(((0, 0.7), (1000, 0.95))):
        facts = {"weights__decoder_images_seen": seen, "weights__decoder": str(seen)}
        make_cell(tmp_path, "random", f"nf-{seen}", number, **(probed(own=own) | facts))
    grid = read_grid(tmp_path)
    sheet = draw_training(grid, courses(grid)[0])
    panel = sheet.plots[0]
    floor, line = panel.get_lines()
    assert line.get_xydata().tolist() == [[0, 70], [1, 95]]
    assert floor.get_ydata().tolist() == [60, 60]

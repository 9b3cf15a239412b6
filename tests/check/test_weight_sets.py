import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stitching.check.findings import Level
from stitching.check.weight_sets import weight_sets, weights_in_use
from stitching.models.baseline import Pixels
from stitching.weights.containers import WeightFile, read_weights
from tests.small import small_vae


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def averaged(model):
    return {k: v * 0.9 + 0.01 if v.is_floating_point() else v for k, v in state(model).items()}


def file(content, card=None):
    return WeightFile(Path("some.pt"), content, "0" * 64, card or {})


def prefixed(prefix, tensors):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


#: Layouts of the field that hold raw and averaged weights, with what names the averaged set.
LAYOUTS = {
    "two entries": (lambda raw, ema: {"model": raw, "ema": ema, "step": 3}, "model"),
    "generators": (lambda raw, ema: {"G": raw, "D": {"w": raw["x"]}, "G_ema": ema}, "G"),
    "a list, the average last": (lambda raw, ema: [raw, {"state": {}}, 5, 9, ema], "entry 0"),
    "a prefix in one dict": (
        lambda raw, ema: {"state_dict": raw | prefixed("model_ema.", ema)},
        "state_dict",
    ),
    "nested": (lambda raw, ema: {"m": {"raw": raw}, "ema_state": {"shadow": ema}}, "m/raw"),
    "this project's training state": (
        lambda raw, ema: {"model": raw, "average": ema, "optimizer": {"state": {0: {}}}},
        "model",
    ),
}


def content(layout, model):
    make, label = LAYOUTS[layout]
    raw = state(model)
    if layout == "generators":
        raw["x"] = torch.zeros(3)
    return make(raw, averaged(model)), label


@pytest.mark.parametrize("layout", LAYOUTS)
def test_raw_weights_in_use_beside_averaged_ones_are_a_warning(layout):
    model = small_vae()
    held, label = content(layout, model)
    finding = weights_in_use(model, file(held), averages=False)
    assert finding.level == Level.WARNING
    assert f"in use: {label}: take the averaged set" in finding.text


@pytest.mark.parametrize("layout", LAYOUTS)
def test_averaged_weights_in_use_are_as_they_should_be(layout):
    model = small_vae()
    held, _ = content(layout, model)
    model.load_state_dict(averaged(model))
    assert weights_in_use(model, file(held), averages=False).level == Level.OK


def test_one_set_of_weights_is_no_choice():
    model = small_vae()
    finding = weights_in_use(model, file({"state_dict": state(model)}), averages=False)
    assert (finding.level, finding.text) == (Level.OK, "the file holds one set of weights")


def test_the_state_of_an_optimiser_is_no_set_of_weights():
    model = copy.deepcopy(small_vae()).requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    held = {"model": state(model), "optimizer": optimizer.state_dict()}
    assert weights_in_use(model, file(held), averages=False).level == Level.OK


def test_renamed_transposed_and_rounded_tensors_are_recognised():
    model = small_vae()
    raw = {f"x{i}": v.half().float().T if v.ndim == 2 else v for i, v in
           enumerate(state(model).values())}  # fmt: skip
    model.load_state_dict({k: v.half().float() if v.ndim == 2 else v for k, v in
                           state(model).items()})  # fmt: skip
    held = {"model": raw, "model_ema": averaged(model)}
    finding = weights_in_use(model, file(held), averages=False)
    assert "in use: model: take" in finding.text


def test_sets_that_are_not_in_the_model_are_said_to_be_unknown():
    model = small_vae()
    held = {"a": averaged(model), "ema": {k: v + 1 for k, v in averaged(model).items()}}
    finding = weights_in_use(model, file(held), averages=False)
    assert finding.level == Level.WARNING
    assert "2 sets of weights (a and ema), none as in the model" in finding.text


@pytest.mark.parametrize(
    ("card", "averages", "level"),
    [
        ("average 0.999", True, Level.OK),
        ("raw", False, Level.OK),
        ("raw", True, Level.WARNING),
    ],
)
def test_the_card_of_this_projects_files_is_believed(card, averages, level):
    held = file({}, {"weights": card, "architecture": "{}"})
    assert weights_in_use(small_vae(), held, averages).level == level


def test_a_model_without_weights_has_none_to_choose_from():
    assert weights_in_use(Pixels("pixels", 8), file({}), False).level == Level.SKIPPED


@pytest.mark.parametrize("name", ["exp_avg.0", "teammate", "schema", "norm.running_mean"])
def test_names_that_only_look_like_averages_are_none(name):
    (found,) = weight_sets({name: torch.zeros(2)})
    assert not found.averaged


def test_a_file_on_disk_is_read_the_same(tmp_path):
    model = small_vae()
    both = state(model) | prefixed("ema.", averaged(model))
    save_file(both, tmp_path / "both.safetensors")
    finding = weights_in_use(model, read_weights(tmp_path / "both.safetensors"), averages=False)
    assert "in use: the file: take the averaged set" in finding.text

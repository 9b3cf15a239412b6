"""Values that are not finite: one policy for fit and test images, and hints that fit the cause."""

import re

import pytest
import torch

from stitching.data.faces import Faces
from stitching.maps import Ridge
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel, encode_split, latent_rows
from stitching.pipeline.fitting import PickedRows, Space, exclude_invalid
from stitching.pipeline.scoring import valid_items
from tests.small import Pixels, small_cell, small_vae, small_vae_options, strict

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]

#: Places of images that a model has no finite latents of.
FIT, TEST = [3, 17], [5]
DATA = Faces("faces", 40, 9, 32, 0, 1)


class Holes(Pixels):
    """Latents are NaN for some images, known by their mean."""

    def __init__(self, split, places, **options):
        super().__init__(**options)
        self.marks = DATA.split(split).images(places).mean((1, 2, 3)).tolist()

    def _encode(self, x):
        z = x.clone()
        for mark in self.marks:
            z[(x.mean((1, 2, 3)) - mark).abs() < 1e-7, 0, 0, 0] = float("nan")
        return z


class Fewer(Faces):
    """The same data without these fit images."""

    def _build(self, split):
        whole = super()._build(split)
        if split != "train":
            return whole
        return whole.pick([i for i in range(len(whole)) if i not in FIT])


def pixels(model=None, dtype="float32"):
    return FrozenModel((model or Pixels()).freeze(), {"name": "pixels"}, dtype)


def vae():
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def holes(split="train", places=FIT):
    return pixels(Holes(split, places))


def run(folder, encoder, decoder, data=DATA, invalid="exclude", **options):
    protocol = strict(invalid=invalid, probe_ids=options.pop("probe_ids", "held_out"))
    return small_cell(encoder, decoder, data, Cache(folder), protocol=protocol, **options).run()


def measured(found):
    """Return all that a cell has found, without what names its data."""
    dropped = re.compile(r"data/|invalid/|n_invalid")
    return {key: value for key, value in found.metrics.items() if not dropped.match(key)}


@pytest.mark.parametrize(
    ("role", "options"),
    [
        ("encoder", {}),
        ("decoder", {}),
        ("decoder", {"probe_ids": "overlapping"}),
        # Wide latents make slow factorisations where they are streamed: none is made of them.
        ("decoder", {"latent_map": Ridge(chunk=16), "round_trip": False}),
        ("encoder", {"validation": 0.3}),
    ],
    ids=["encoder", "decoder", "overlapping", "streamed", "validation"],
)
def test_a_cell_without_its_invalid_fit_images_is_that_of_data_that_never_had_them(
    tmp_path, role, options
):
    pair = (holes(), vae()) if role == "encoder" else (vae(), holes())
    excluded = run(tmp_path / "a", *pair, **options)
    never = run(tmp_path / "b", *pair, data=Fewer("faces", 40, 9, 32, 0, 1), **options)
    assert measured(excluded) == measured(never)
    assert excluded.metrics["n_train"] == 38
    assert excluded.metrics["n_invalid_fit"] == 2
    assert excluded.metrics["invalid/fit_source"] == (2 if role == "encoder" else 0)
    assert excluded.metrics["invalid/fit_target"] == (2 if role == "decoder" else 0)
    assert excluded.metrics["n_invalid"] == never.metrics["n_invalid_fit"] == 0


def test_fit_images_that_a_third_model_fails_on_are_left_out_too(tmp_path):
    found = run(tmp_path, vae(), pixels(), via=holes()).metrics
    assert (found["n_train"], found["invalid/fit_via_0"], found["n_invalid_fit"]) == (38, 2, 2)


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_test_images_without_finite_latents_are_left_out_of_every_measure(tmp_path, role):
    bad = holes("test", TEST)
    pair = (bad, vae()) if role == "encoder" else (vae(), bad)
    found = run(tmp_path, *pair).metrics
    assert (found["n_invalid"], found["n_invalid_fit"], found["n_train"]) == (1, 0, 40)
    assert found["invalid/source"] == (role == "encoder")
    assert found["probe/n_test"] == 8


def test_the_default_ends_the_cell_and_names_model_split_number_and_ids(tmp_path):
    with pytest.raises(ValueError, match="not finite") as caught:
        run(tmp_path, holes(), vae(), invalid="fail")
    text = str(caught.value)
    ids = [DATA.split("train").ids[i] for i in FIT]
    assert "encoder pixels returned latents of train images" in text
    assert f"2 of 40 images (ids {', '.join(ids)})" in text
    assert "weights" in text
    assert "alpha" not in text


@pytest.mark.parametrize("encode", [encode_split, latent_rows])
def test_latents_that_were_kept_by_a_run_that_excludes_end_a_run_that_does_not(tmp_path, encode):
    encode(holes(), DATA.split("train"), Cache(tmp_path), 16, False)
    with pytest.raises(ValueError, match="2 of 40 images"):
        encode(holes(), DATA.split("train"), Cache(tmp_path), 16)


def test_ten_ids_are_named_and_the_others_counted(tmp_path):
    with pytest.raises(ValueError, match="13 of 40 images") as caught:
        run(tmp_path, holes(places=list(range(13))), vae(), invalid="fail")
    assert caught.value.args[0].count(", ") >= 9
    assert "and 3 more" in caught.value.args[0]


def test_half_precision_is_named_where_it_may_be_the_cause(tmp_path):
    bad = pixels(Holes("train", FIT), dtype="float16")
    with pytest.raises(ValueError, match="try dtype=float32 in place of float16"):
        encode_split(bad, DATA.split("train"), Cache(tmp_path), 16)


@pytest.mark.parametrize(
    ("broken", "cause"),
    [("mapped", "larger map.alpha"), ("own", "model's weights"), ("stitched", "larger map.alpha")],
)
def test_hints_fit_the_stage(broken, cause):
    images = DATA.split("test")
    stages = {name: torch.zeros(9, 2) for name in ("source", "target", "mapped", "own")}
    stages["stitched"] = torch.zeros(9, 2)
    stages[broken][4] = float("inf")
    with pytest.raises(ValueError, match=cause) as caught:
        valid_items(images, stages, strict())
    assert ("alpha" in str(caught.value)) == ("alpha" in cause)
    assert images.ids[4] in str(caught.value)


def test_a_fit_needs_two_images_that_remain(tmp_path):
    with pytest.raises(ValueError, match="leaves 1 of 40 fit images"):
        run(tmp_path, holes(places=list(range(39))), vae())


def test_test_images_that_are_all_invalid_are_said_to_be(tmp_path):
    with pytest.raises(ValueError, match="latents have values that are not finite for all 9"):
        run(tmp_path, holes("test", list(range(9))), vae())


def test_picked_rows_are_read_by_slices():
    rows, places = torch.arange(20.0).reshape(10, 2), torch.tensor([1, 4, 5, 9])
    picked = PickedRows(rows, places)
    assert torch.equal(picked[1:3], rows[4:6])
    assert torch.equal(torch.cat([picked[0:3], picked[3:9]]), rows[places])


def test_without_invalid_images_nothing_is_copied():
    train, z = DATA.split("train"), torch.ones(40, 3)
    images, spaces, counts = exclude_invalid(train, [Space(pixels(), "", z, z)] * 2)
    assert images is train
    assert spaces[0].train is z
    assert counts == {"invalid/fit_source": 0, "invalid/fit_target": 0, "n_invalid_fit": 0}

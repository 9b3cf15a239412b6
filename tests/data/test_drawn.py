"""Images drawn by a model: by seed and index alone, with latents that are known."""

import pytest
import torch

from stitching import config
from stitching.config import assemble
from stitching.data.base import assert_disjoint
from stitching.data.drawn import Drawn, DrawnSet
from stitching.data.faces import Faces
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel, encode_split
from tests.gans import small_gan, small_gan_options
from tests.small import small_vae

SMALL = ["data=drawn", "data.n_train=12", "data.n_test=4", "metric=[rmse]", "tracker=none"]
#: The packaged architecture without weights, which are read from a file otherwise.
UNTRAINED = ["data.model.weights=null", "encoder.weights=null", "decoder.weights=null"]


def drawn(model=None, **options):
    defaults = {"n_train": 20, "n_test": 5, "image_size": 32, "seed": 0, "n_pretrain": 8}
    return Drawn("drawn", **defaults | options, model=model or small_gan())


def composed(*overrides):
    return config.compose_config([*SMALL, *overrides])


def test_no_item_is_in_two_splits():
    data = drawn()
    data.check()
    for split in ("train", "pretrain"):
        assert_disjoint(data.split(split), data.split("test"))
    assert data.split("test").ids[0] == "drawn-0-10000000"


def test_a_part_of_drawn_images_knows_which_these_are():
    whole = drawn().split("train")
    part = whole.part(5, 9)
    assert isinstance(part, DrawnSet)
    assert part.indices == whole.indices[5:9]
    assert part.fingerprint == whole.fingerprint_of(slice(5, 9))
    assert torch.equal(part.images(slice(None)), whole.images(slice(5, 9)))


@pytest.mark.parametrize("split", ["train", "pretrain"])
def test_an_image_does_not_depend_on_what_it_is_asked_for_with(split):
    whole = drawn().split(split).images(slice(None))
    assert torch.equal(drawn().split(split).images([7, 3]), whole[[7, 3]])
    assert torch.equal(torch.cat(list(drawn().split(split).batches(3))), whole)


def test_images_are_the_models_own():
    model = small_gan()
    images = drawn(model, seed=4).split("test")
    expected = model.draw(4, range(10_000_000, 10_000_005))[1]
    assert torch.equal(images.images(slice(None)), expected / 255)
    assert isinstance(images, DrawnSet)
    assert images.subset(2).indices == [10_000_000, 10_000_001]


def test_train_and_test_images_are_drawn_once():
    class Counting(type(small_gan())):
        drawings = 0

        def draw(self, seed, indices):
            type(self).drawings += len(indices)
            return super().draw(seed, indices)

    options = small_gan_options()
    options.pop("_target_")
    data = drawn(Counting(**options).freeze())
    for _ in range(2):
        for split in ("train", "test"):
            data.split(split).images(slice(None))
    data.split("test").images([0])
    assert Counting.drawings == 25


def test_seeds_give_other_images():
    first, second = (drawn(seed=seed).split("test") for seed in (0, 1))
    assert first.fingerprint != second.fingerprint
    assert not torch.equal(first.images([0]), second.images([0]))


@pytest.mark.parametrize(
    ("options", "same"), [({"space": "w"}, True), ({"truncation": 0.5}, False)]
)
def test_the_fingerprint_tells_what_changes_pixels(options, same):
    fingerprints = {drawn(small_gan(**o)).split("test").fingerprint for o in ({}, options)}
    assert (len(fingerprints) == 1) == same


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image_size": 64}, ValueError, "draws images of 32 pixels but data.image_size=64"),
        ({"seed": -1}, ValueError, "data.seed must be >= 0, got -1"),
        ({"n_pretrain": 0}, ValueError, "data.n_pretrain must be in 1"),
        ({"root": "x"}, ValueError, "not read from a folder"),
        ({"model": small_vae()}, TypeError, "data.model=vae: this model does not draw"),
    ],
)
def test_wrong_settings_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        drawn(**options)


def frozen(**options):
    return FrozenModel(small_gan(**options), small_gan_options(**options), "float32")


@pytest.mark.parametrize("space", ["z", "w", "w+", "style"])
def test_latents_of_the_model_that_drew_are_the_known_ones(tmp_path, space):
    images = drawn().split("train")
    z, encoded = encode_split(frozen(space=space), images, Cache(tmp_path), 4)
    assert torch.equal(z, small_gan(space=space).known_latents(0, range(20)))
    assert encoded == 0


def test_known_latents_are_cached_by_space(tmp_path):
    images, cache = drawn().split("train"), Cache(tmp_path)
    for space, width in (("z", 16), ("w", 24), ("z", 16)):
        assert encode_split(frozen(space=space), images, cache, 4)[0].shape == (20, width)


@pytest.mark.parametrize("data", [drawn(small_gan(noise="none")), Faces("f", 4, 2, 32, 0, 1)])
def test_latents_of_other_images_are_not_to_be_had(tmp_path, data):
    with pytest.raises(TypeError, match="known only for images it drew"):
        encode_split(frozen(), data.split("test"), Cache(tmp_path), 4)


@pytest.mark.parametrize("roles", [("gan", "vae"), ("vae", "gan"), ("gan", "gan")])
def test_data_model_names_a_model_as_the_roles_do(roles):
    chosen = composed(*UNTRAINED, "data.model=gan", f"encoder={roles[0]}", f"decoder={roles[1]}")
    cell = assemble.build_cell(chosen)
    assert isinstance(cell.data, Drawn)
    assert (cell.encoder.model_name, cell.decoder.model_name) == roles


def test_options_of_the_drawing_model_are_set_as_those_of_a_role():
    chosen = composed(*UNTRAINED, "data.model=gan", "data.model.truncation=0.5")
    assert config.build_data(chosen.settings["data"]).model.truncation == 0.5


def test_a_users_model_draws_by_its_name(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "defaults: [gan, _self_]\nname: mine\nchannel_max: 8\nweights: null\n"
    )
    chosen = composed(f"hydra.searchpath=[file://{tmp_path}]", "data.model=mine")
    model = config.build_data(chosen.settings["data"]).model
    assert (model.name, len(model.generator.synthesis.b4.conv1.bias)) == ("mine", 8)


def test_an_unknown_drawing_model_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"(?s)nope.*gan"):
        composed("data.model=nope")


def test_a_model_that_cannot_draw_is_refused_when_built():
    with pytest.raises(TypeError, match=r"data\.model=vae: this model does not draw.*gan"):
        assemble.build_cell(composed("data.model=vae"))


@pytest.mark.parametrize("role", config.ROLES)
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=faces"], "has no encoder.*only for images it drew: use data=drawn data.model=gan"),
        (["data.model.weights=null", "data.model.truncation=0.5"], "did not draw the images of"),
    ],
)
def test_a_gan_on_images_it_did_not_draw_is_refused(role, overrides, message):
    chosen = composed(*overrides, f"{role}=gan", f"{role}.weights=null")
    with pytest.raises(ValueError, match=f"{role}=gan.*{message}"):
        assemble.build_cell(chosen)


def test_cells_of_a_sweep_share_what_was_drawn():
    chosen = composed(*UNTRAINED, "encoder=gan", "decoder=gan")
    assert assemble.build_cell(chosen).data is assemble.build_cell(chosen).data

"""The sheet of pictures and the errors of reconstructions beside trained weights."""

import io

import pytest
import torch
from PIL import Image

from stitching.data.folder import Folder
from stitching.models.pca import PCA
from stitching.train import __main__ as command
from stitching.train.files import TrainingFiles
from stitching.train.review import Errors, Review
from stitching.train.trainer import Recipe
from tests.gans import small_gan
from tests.small import small_vae, small_vae_options
from tests.train.test_checkpoints import GAN_16, Quiet, Run, card


def images(n, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


def rows(png):
    """Return the number of rows of enlarged pictures on a sheet."""
    return Image.open(io.BytesIO(png)).height // 128


def test_errors_are_those_of_reconstructions_and_of_as_many_components():
    model, seen, unseen = small_vae().freeze(), images(20), images(6, seed=1)
    found = Review(seen, unseen).errors(model)

    def rmse(coder, x):
        made = (coder.decode(coder.encode(x)) * 255 + 0.5).floor() / 255
        return float((made - x.float() / 255).square().mean().sqrt())

    components = PCA("pca", 32, width=min(model.latent_dim, 19))
    components.fit_images(seen)
    assert found.seen == pytest.approx(rmse(model, seen), rel=1e-5)
    assert found.unseen == pytest.approx(rmse(model, unseen), rel=1e-5)
    assert found.components == pytest.approx(rmse(components, unseen), rel=1e-4)
    assert (found.n_components, found.n_unseen) == (components.latent_dim, 6)


def test_weights_that_reconstruct_only_what_they_saw_are_called_overfitted():
    assert "overfit" in str(Errors(0.03, 0.05, 0.06, 19, 6))
    assert "overfit" not in str(Errors(0.03, 0.031, 0.06, 19, 6))
    assert str(Errors(0.03)).endswith("no test images")


def test_a_sheet_has_images_reconstructions_and_samples():
    review = Review(images(4), images(3, seed=1))
    assert rows(review.sheet(small_vae().freeze())) == 3
    pca = PCA("pca", 32, width=2)
    pca.fit_images(review.seen)
    assert rows(review.sheet(pca)) == 2  # no prior
    gan = Review(images(4, 16), images(0, 16))
    assert rows(gan.sheet(small_gan(**GAN_16).freeze())) == 1  # no encoder
    assert gan.errors(small_gan(**GAN_16).freeze()) is None


class Shown(Quiet):
    def __init__(self):
        super().__init__()
        self.images = []

    def image(self, name, image):
        self.images.append((name, image.name))


def test_each_file_of_weights_has_its_sheet(tmp_path):
    run, shown = Run(tmp_path), Shown()
    review = Review(run.pixels, run.pixels[:2])
    run.files = TrainingFiles(tmp_path, "vae", small_vae_options(), {}, review)
    command.train(run.trainer, run.pixels, shown, run.files, checkpoints_at=[8])
    end = run.files.write(run.trainer, run.pixels)
    command.show(run.files, end, shown)
    assert shown.images == [("train/images", "vae-8.png"), ("train/images", "vae.png")]
    assert 0 < float(card(end)["rmse_test"]) < 1
    assert "rmse_test" not in card(tmp_path / "vae-8.safetensors")


def test_pictures_of_others_are_not_replaced(tmp_path):
    (tmp_path / "vae-8.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"vae-8\.png.*out=ANOTHER_FOLDER"):
        Run(tmp_path).files.require_free([8])


def test_weights_are_kept_where_their_pictures_cannot_be_made(tmp_path, caplog, monkeypatch):
    def infinite(self, z):
        return torch.full((len(z), 3, 32, 32), torch.inf)

    run = Run(tmp_path)
    monkeypatch.setattr(type(run.trainer.model), "_decode", infinite)
    run.files = TrainingFiles(tmp_path, "vae", {}, {}, Review(run.pixels, run.pixels[:2]))
    path = run.files.write(run.trainer, run.pixels)
    assert path.is_file()
    assert run.files.sheet_of(path) is None
    assert "no pictures beside vae.safetensors" in caplog.text


def test_few_images_are_seen_a_limited_number_of_times():
    recipe = Recipe(n_images=100_000, batch_size=16, lr=1e-3)
    assert recipe.limited_to(155).n_images == 400 * 155
    assert recipe.limited_to(40_000) == recipe
    assert recipe.limited_to(None) == recipe
    assert Recipe(n_images=10_000, batch_size=16, lr=1e-3, epochs=None).limited_to(5).n_images == (
        10_000
    )
    with pytest.raises(ValueError, match=r"training\.epochs must be >= 1, or null, got 0"):
        Recipe(n_images=10_000, batch_size=16, lr=1e-3, epochs=0)


def test_test_images_are_shown_even_where_there_are_fewer_than_n_test(tmp_path):
    for number in range(12):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = Folder(tmp_path, 2000, 500, 8, None, 0.5)
    shown, trained = command.test_images(data), command.training_images(data)
    assert 0 < len(shown) < 12
    assert len(shown) + len(trained) == 12
    assert not set(shown.ids) & set(trained.ids)
    assert command.test_images(Folder(tmp_path, 2000, 500, 8, None, 1e-9)) is None

"""Controls: what each keeps of an image, against other libraries and exact linear algebra."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from stitching.data.faces import Faces
from stitching.data.label_columns import label_columns
from stitching.models.controls import Labels, RandomProjection, Thumbnail
from stitching.models.pca import PCA


def images(n=6, size=16, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_a_thumbnail_whose_size_divides_the_image_is_pillows_box_average(size):
    x = images(2)
    z = Thumbnail("thumbnail", 16, size).encode(x).view(2, 3, size, size)
    planes = [Image.fromarray(plane.numpy(), "F") for plane in x.flatten(0, 1)]
    box = [np.asarray(p.resize((size, size), Image.Resampling.BOX)) for p in planes]
    torch.testing.assert_close(z.flatten(0, 1), torch.from_numpy(np.stack(box)))


@pytest.mark.parametrize("size", [3, 5, 7, 13])
def test_a_thumbnail_of_any_size_is_the_average_of_a_finer_image(size):
    # Each pixel becomes size x size equal ones, so that every part has whole pixels.
    x = images()
    finer = x.repeat_interleave(size, -1).repeat_interleave(size, -2)
    z = Thumbnail("thumbnail", 16, size).encode(x)
    torch.testing.assert_close(z, functional.avg_pool2d(finer, 16).flatten(1))


def test_a_thumbnail_is_enlarged_as_torch_interpolates():
    model, x = Thumbnail("thumbnail", 16, 4), images()
    z = model.encode(x)
    expected = functional.interpolate(z.view(6, 3, 4, 4), (16, 16), mode="bilinear")
    torch.testing.assert_close(model.decode(z), expected)
    one_colour = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(model.decode(model.encode(one_colour)), one_colour)


def test_a_thumbnail_of_the_images_size_is_the_image():
    model, x = Thumbnail("thumbnail", 16, 16), images()
    torch.testing.assert_close(model.decode(model.encode(x)), x)


@pytest.mark.parametrize("size", [0, 17])
def test_a_thumbnail_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match=rf"thumbnail\.size must lie in 1\.\.16 .*, got {size}"):
        Thumbnail("thumbnail", 16, size)


def test_a_projection_keeps_distances():
    # |R d|^2 / |d|^2 is chi-squared with 512 degrees of freedom over 512: deviation .0625.
    x = images(20, 32)
    z = RandomProjection("projection", 32, 512).encode(x)
    ratio = torch.pdist(z).square() / torch.pdist(x.flatten(1)).square()
    assert abs(float(ratio.mean()) - 1) < 0.05
    assert float((ratio - 1).abs().max()) < 0.3  # 190 pairs: below 5 deviations


def test_a_projection_decodes_by_numpys_pseudo_inverse():
    model, x = RandomProjection("projection", 8, 50, seed=3).freeze().double(), images(4, 8)
    rows, flat = model.projection.numpy(), x.flatten(1).double().numpy()
    z = (flat - 0.5) @ rows.T
    torch.testing.assert_close(model.encode(x), torch.from_numpy(z))
    expected = torch.from_numpy(z @ np.linalg.pinv(rows).T + 0.5).float()
    torch.testing.assert_close(model.decode_unclamped(model.encode(x)).flatten(1), expected)


def test_a_projection_comes_back_from_its_own_images():
    model = RandomProjection("projection", 8, 50)
    z = model.encode(images(4, 8))
    again = (model.decode_unclamped(z).flatten(1) - 0.5) @ model.projection.T
    torch.testing.assert_close(again, z, rtol=1e-4, atol=1e-4)


def test_a_wider_projection_has_the_rows_of_a_narrower_one_of_its_seed():
    narrow, wide, other = (RandomProjection("p", 8, *a) for a in ((10,), (40,), (10, 1)))
    torch.testing.assert_close(wide.projection[:10] * 2, narrow.projection)
    assert not torch.equal(other.projection, narrow.projection)


@pytest.mark.parametrize(("latent_dim", "seed"), [(0, 0), (193, 0), (8, -1)])
def test_a_projection_that_there_cannot_be_is_refused(latent_dim, seed):
    with pytest.raises(ValueError, match="must"):
        RandomProjection("projection", 8, latent_dim, seed)


def labelled(**options):
    data = Faces("faces", 30, 7, 32, 0, 1)
    model = Labels("labels", 32, **options).freeze()
    model.set_labels(label_columns(data.split("train")))
    return model, data


def test_labels_are_those_of_the_data():
    model, data = labelled(standardise=False)
    test = data.split("test")
    z = dict(zip(model.names, model.label_latents(label_columns(test)).T.numpy(), strict=True))
    for name, values in (test.attributes | test.factors).items():
        np.testing.assert_array_equal(z[name if name in test.attributes else f"factor/{name}"],
                                      values.astype(np.float32))  # fmt: skip
    (key, found), *_ = test.classes.items()
    one_hot = np.stack([z[f"class/{key}/{name}"] for name in found.names], 1)
    np.testing.assert_array_equal(one_hot.argmax(1), found.values)
    assert (one_hot.sum(1) == 1).all()
    n_class = sum(len(found.names) for found in test.classes.values())
    assert model.latent_dim == len(test.attributes) + len(test.factors) + n_class


def test_labels_are_standardised_over_the_fit_images_and_constant_ones_are_0():
    columns = {"a": np.array([0.0, 1, 1, 0]), "same": np.ones(4), "f": np.array([3.0, 5, 9, 1])}
    model = Labels("labels", 8)
    model.set_labels(columns)
    z = model.label_latents(columns)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.tensor([1.0, 0, 1]))
    new = model.label_latents({"a": np.zeros(1), "same": np.ones(1), "f": np.array([5.0])})
    torch.testing.assert_close(new[0, 2], torch.tensor((5 - 4.5) / np.std([3.0, 5, 9, 1])).float())


def test_labels_are_not_read_from_pixels():
    model, _ = labelled()
    with pytest.raises(TypeError, match="reads no pixels"):
        model.encode(images(2, 32))


def test_other_labels_than_those_of_the_fit_images_are_refused():
    model, _ = labelled()
    with pytest.raises(ValueError, match="fit and test images need the same labels"):
        model.label_latents({"a": np.zeros(3)})
    with pytest.raises(ValueError, match="no labels yet"):
        Labels("labels", 8).label_latents({"a": np.zeros(3)})


@pytest.mark.parametrize(("match", "width"), [(9, 9), (60, 39), (None, 39)])
def test_components_that_match_are_as_many_as_there_are(match, width):
    model = PCA("pca", 8, match=match).freeze()
    model.check_fit(40)
    model.fit_images(images(40, 8))
    assert model.latent_dim == width


def test_the_earlier_name_of_the_width_of_pca_is_taken_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert PCA("pca", 8, n_components=5).latent_dim == 5
    assert "pca.n_components is now called pca.width" in caplog.text

import copy

import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA

from stitching.compute.linalg import principal_components
from stitching.models.pca import PCA


def images(n=40, size=8, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def fitted(width=5, x=None, size=8):
    model = PCA("pca", size, width).freeze()
    model.fit_images(images(size=size) if x is None else x)
    return model


@pytest.mark.parametrize(("n", "size"), [(40, 8), (60, 4)])  # more pixels than images, and fewer
def test_it_agrees_with_scikit_learn(n, size):
    x = images(n, size)
    model = PCA("pca", size, 7).freeze().double()
    model.fit_images(x)
    flat = x.flatten(1).double().numpy()
    oracle = SklearnPCA(7, svd_solver="full").fit(flat)
    # Signs are free, so they are taken from the oracle.
    signs = torch.as_tensor((oracle.components_ * model.components.numpy()).sum(1)).sign()
    torch.testing.assert_close(
        model.components, signs[:, None] * torch.as_tensor(oracle.components_), atol=1e-9, rtol=0
    )
    z = model.encode(x)
    torch.testing.assert_close(z, torch.as_tensor(oracle.transform(flat)) * signs)
    expected = torch.as_tensor(oracle.inverse_transform(oracle.transform(flat)))
    torch.testing.assert_close(model.decode(z).flatten(1).double(), expected.clamp(0, 1))


def test_components_are_orthonormal_and_sorted_by_variance():
    model, x = fitted(20), images()
    torch.testing.assert_close(model.components @ model.components.T, torch.eye(20))
    spread = model.encode(x).var(0)
    assert bool((spread[:-1] >= spread[1:]).all())


def test_weak_components_are_orthonormal_too():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 6, generator=generator, dtype=torch.float64))[0]
    scale = torch.logspace(0, -5, 6, dtype=torch.float64)
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64) * scale @ basis.T
    found = principal_components(x, x.mean(0), 20)
    assert len(found) == 6
    torch.testing.assert_close(found @ found.T, torch.eye(6, dtype=torch.float64))


def test_the_largest_entry_of_every_component_is_positive():
    components = fitted(20).components
    assert bool((components.amax(1) >= components.abs().amax(1)).all())


def test_all_components_give_the_fit_images_back():
    x = images()
    model = fitted(None, x)
    assert model.latent_shape == (39,)  # one less than the images
    torch.testing.assert_close(model.decode(model.encode(x)), x, atol=1e-5, rtol=0)


def test_batches_and_bytes_are_fitted_like_one_tensor_of_floats():
    x = (images() * 255).round().to(torch.uint8)
    whole, parts = fitted(5, x.float() / 255), fitted(5, iter(x.split(7)))
    assert torch.equal(whole.components, parts.components)
    assert whole.weights_hash == parts.weights_hash


def test_other_images_give_another_model():
    assert fitted().weights_hash != fitted(x=images(seed=1)).weights_hash


@pytest.mark.parametrize("use", [lambda m: m.encode(images()), lambda m: m.decode(images())])
def test_it_says_what_to_do_before_it_is_fitted(use):
    with pytest.raises(ValueError, match=r"not fitted yet: call \.fit_images\(x\) first"):
        use(PCA("pca", 8, 5))


def test_a_fitted_state_is_restored_whatever_its_width():
    model, other = fitted(5), PCA("pca", 8).freeze()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    other.weights_hash = model.weights_hash
    assert other.latent_dim == 5
    assert not any(p.requires_grad for p in other.parameters())
    assert torch.equal(other.encode(images()), model.encode(images()))


def test_it_can_be_fitted_again():
    model = fitted(5)
    model.fit_images(images(seed=1))
    assert torch.equal(model.components, fitted(x=images(seed=1)).components)


@pytest.mark.parametrize(
    ("width", "x", "message"),
    [
        (40, images(), r"width=40, but 40 images have 39 components at most"),
        (5, images(1), "at least 2 images to fit, got 1"),
        (5, [], "at least 2 images to fit, got 0"),
        (5, images(size=4), "fitted to 8 x 8 images, got 4 x 4"),
        (5, images(3).repeat(9, 1, 1, 1), "vary in 2 directions only"),
        (None, images(1).repeat(9, 1, 1, 1), "images are all the same"),
    ],
)
def test_images_that_do_not_do_are_refused(width, x, message):
    with pytest.raises(ValueError, match=message):
        PCA("pca", 8, width).fit_images(x)


@pytest.mark.parametrize("width", [0, 193])
def test_a_width_that_no_image_has_is_refused(width):
    with pytest.raises(ValueError, match=rf"must lie in 1\.\.192 .*, got {width}"):
        PCA("pca", 8, width)


def test_it_has_no_prior():
    with pytest.raises(TypeError, match="no prior"):
        fitted().sample(1)

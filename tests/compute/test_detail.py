"""Images with weighted details."""

import numpy as np
import pytest
import torch
from PIL import Image

from stitching.compute.images import detail_weighted


def images(size=16):
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_details_that_all_count_are_the_image():
    x = images()
    assert detail_weighted(x, (1.0, 1.0, 1.0)) is x
    torch.testing.assert_close(detail_weighted(x, (2.0, 2.0, 2.0)), 2 * x)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_without_fine_details_an_image_is_its_area_average(kept):
    x, size = images(), 16 >> (4 - kept)
    found = detail_weighted(x, (1.0,) * kept + (0.0,) * (4 - kept))
    for image, expected in zip(found, x, strict=True):
        for channel, plane in zip(image, expected, strict=True):
            small = Image.fromarray(plane.numpy()).resize((size, size), Image.Resampling.BOX)
            large = small.resize((16, 16), Image.Resampling.NEAREST)
            torch.testing.assert_close(channel, torch.from_numpy(np.array(large)))


def test_they_are_linear_in_the_pixels():
    x, weights = images(12), (1.0, 0.5, 0.25, 0.1)
    both = detail_weighted(x[:1] + 2 * x[1:2], weights)
    parts = detail_weighted(x[:1], weights) + 2 * detail_weighted(x[1:2], weights)
    torch.testing.assert_close(both, parts)

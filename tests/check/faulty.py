"""Models with one fault each, and the same model without."""

import torch
from torch import nn

from stitching.models.base import GenerativeModel


class Sound(GenerativeModel):
    """The lowest frequencies of 4 x 4 patches, by channel: an orthonormal autoencoder."""

    def __init__(self, name="sound", image_size=16, width=12, value_range=(0.0, 1.0)):
        side = image_size // 4
        super().__init__(name, image_size, (width, side, side), value_range, 4)
        waves = torch.cos(torch.pi * torch.outer(torch.arange(4), torch.arange(4) + 0.5) / 4)
        waves = waves / waves.norm(dim=1, keepdim=True)
        order = sorted(range(16), key=lambda k: (k // 4 + k % 4, k))[: width // 3]
        filters = torch.zeros(width, 3, 4, 4)
        for i, k in enumerate(order):
            for channel in range(3):
                filters[3 * i + channel, channel] = torch.outer(waves[k // 4], waves[k % 4])
        self.filters = nn.Parameter(filters)
        self.norm = nn.BatchNorm2d(3, affine=False)

    def _encode(self, x):
        return torch.conv2d(self.norm(x), self.filters, stride=4)

    def _decode(self, z):
        return torch.conv_transpose2d(z, self.filters, stride=4)


class Saturating(Sound):
    """A network of another range: what lies outside `trained` is lost on it."""

    trained = (0.0, 1.0)

    def _encode(self, x):
        return super()._encode(x.clamp(*self.trained))


class Sampling(Sound):
    def _encode(self, x):
        z = super()._encode(x)
        return z + 0.1 * torch.randn_like(z)


class Renoising(Sound):
    def _decode(self, z):
        x = super()._decode(z)
        return x + 0.05 * torch.randn_like(x)


class Training(Sound):
    """Its normalisation layer never leaves the training mode."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.train()
        return self


class Switching(Sound):
    """Goes to training mode in every pass and comes back."""

    def _encode(self, x):
        self.norm.train()
        self.norm.momentum = 0.0  # the statistics stay
        z = super()._encode(x)
        self.norm.eval()
        return z


class BatchStatistics(Sound):
    """Subtracts the mean of the batch without a layer that would tell."""

    def _encode(self, x):
        return super()._encode(x - x.mean((0, 2, 3), keepdim=True))


class Free(Sound):
    def freeze(self):
        return self.eval()


class Narrow(Sound):
    """Returns fewer values than declared."""

    def _encode(self, x):
        return super()._encode(x)[:, :-1]


class Flat(Sound):
    """Returns the declared number of values in another shape."""

    def _encode(self, x):
        return super()._encode(x).flatten(1)


class Grey(Sound):
    def _decode(self, z):
        return super()._decode(z)[:, :1]


class Infinite(Sound):
    def _decode(self, z):
        return super()._decode(z) / 0


class Raising(Sound):
    def _encode(self, x):
        raise RuntimeError("no such layer\nand more")

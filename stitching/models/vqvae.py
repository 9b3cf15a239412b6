"""A vector-quantised autoencoder: diffusers' `VQModel`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stitching.models.codebook import Codebook
from stitching.models.trainable import WARMUP_END, Trainable


class VQVAE(Codebook, Trainable):
    """VQ-VAE on a grid of codebook vectors.

    Args:
        name: Name of the option.
        image_size: A multiple of `patch_size` times 2 to the number of levels less one.
        patch_size: The network works on patches of this side, folded into channels; 1 is plain.
        block_out_channels: Widths of the levels.
        layers_per_block: Residual blocks per level.
        latent_channels: Width of a codebook vector.
        num_embeddings: Number of codebook vectors.
        norm_num_groups: Groups of the normalisation layers.
        space: What `encode` returns: `quantized` (codebook vectors, the decoder's input) or
            `continuous` (the encoder's output before quantisation). `decode` projects both to the
            nearest codebook vectors.
        value_range: Range of pixels in the network.

    Raises:
        ValueError: `space` is neither of the two.

    Source: van den Oord et al. (2017), arXiv 1711.00937.
    """

    thread_safe = True
    learns_perceptually = True

    def __init__(
        self,
        name: str,
        image_size: int,
        patch_size: int,
        block_out_channels: Sequence[int],
        layers_per_block: int,
        latent_channels: int,
        num_embeddings: int,
        norm_num_groups: int,
        space: str,
        value_range: Sequence[float],
    ) -> None:
        if space not in ("quantized", "continuous"):
            raise ValueError(f"vqvae space must be quantized or continuous, got {space!r}")
        factor = patch_size * 2 ** (len(block_out_channels) - 1)
        side = image_size // factor
        super().__init__(name, image_size, (latent_channels, side, side), value_range, factor)
        # diffusers takes seconds to import.
        from diffusers import VQModel

        levels = len(block_out_channels)
        self.space = space
        self.patch_size = patch_size
        # Any: decorators of diffusers hide the types of its methods.
        self.vq: Any = VQModel(
            in_channels=3 * patch_size**2,
            out_channels=3 * patch_size**2,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            num_vq_embeddings=num_embeddings,
            norm_num_groups=norm_num_groups,
        )

    @property
    def codebook(self) -> Tensor:
        """The vectors, shape (num_embeddings, latent_channels)."""
        weight: Tensor = self.vq.quantize.embedding.weight
        return weight

    def _encode(self, x: Tensor) -> Tensor:
        z = self._to_continuous(x)
        return self.quantize(z)[0] if self.space == "quantized" else z

    def _decode(self, z: Tensor) -> Tensor:
        return self._to_images(self.quantize(z)[0])

    def _to_continuous(self, x: Tensor) -> Tensor:
        """Encoder's output before quantisation."""
        z: Tensor = self.vq.encode(functional.pixel_unshuffle(x, self.patch_size)).latents
        return z

    def _to_images(self, z: Tensor) -> Tensor:
        """Decoder's output without quantisation."""
        out = self.vq.decode(z, force_not_quantize=True).sample
        return functional.pixel_shuffle(out, self.patch_size)

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Squared error plus codebook and commitment terms; a plain autoencoder at first.

        The codebook starts at the latents of the first batch with quantisation. Codes that recent
        batches have not used are moved to latents of the current batch.
        """
        x = self._to_own_range(x)
        z = self._to_continuous(x).float()
        logs: dict[str, float] = {}
        extra = torch.zeros((), device=x.device)
        if progress < WARMUP_END / 2:
            # Keep the scale of the latents near one until there is a codebook.
            extra = 0.01 * z.square().mean()
            self._started = False
            quantized = z
        else:
            with torch.no_grad():
                self._revive(z.detach())
            index = self._nearest_codes(z.detach())
            codes = self.vq.quantize.embedding(index).movedim(-1, 1)
            extra = (codes - z.detach()).square().mean()
            extra = extra + 0.25 * (z - codes.detach()).square().mean()
            quantized = z + (codes - z).detach()
            logs["codes_used"] = float(index.unique().numel())
        out = self._to_images(quantized).float()
        mse = (out - x).square().mean()
        logs["rmse"] = float(mse.detach().sqrt()) / (self.value_range[1] - self.value_range[0])
        half = slice(0, (len(x) + 1) // 2)
        perceived = self._perceived(out[half], x[half])
        logs["perceived"] = float(perceived.detach())
        return mse + 0.25 * extra + perceived, logs

    def _nearest_codes(self, z: Tensor) -> Tensor:
        """Numbers of the nearest codes, (N, h, w), faster but less exact than `quantize`."""
        flat = z.movedim(1, -1)
        distance = torch.cdist(flat.flatten(0, -2), self.vq.quantize.embedding.weight)
        return distance.argmin(1).view(flat.shape[:-1])

    def _revive(self, z: Tensor) -> None:
        """Initialise the codebook from data, and move codes unused for 100 batches to data."""
        codebook = self.vq.quantize.embedding.weight
        vectors = z.movedim(1, -1).flatten(0, -2)
        pick = vectors[torch.randint(len(vectors), (len(codebook),), device=z.device)]
        if not getattr(self, "_started", True):
            codebook.copy_(pick)
            self._started = True
        if not hasattr(self, "_unused"):
            self._unused = torch.zeros(len(codebook), dtype=torch.long, device=z.device)
        self._unused += 1
        self._unused[self._nearest_codes(z).flatten()] = 0
        dead = self._unused > 100
        codebook[dead] = pick[dead]
        self._unused[dead] = 0

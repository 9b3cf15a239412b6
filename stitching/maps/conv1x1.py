"""One linear map for all sites of spatial latents: a 1x1 convolution."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from stitching.maps.base import Map, dtype_carrier
from stitching.maps.factorisation import Factorisation
from stitching.maps.ridge import Ridge


class _Grid(NamedTuple):
    """A latent on a common, coarser grid."""

    shape: tuple[int, int, int]  # C, H and W
    fold: tuple[int, int]  # rows and columns of the latent in one site of the common grid

    @property
    def channels(self) -> int:
        """Values at one site of the common grid."""
        return self.shape[0] * prod(self.fold)

    @property
    def sites(self) -> tuple[int, int]:
        """Rows and columns of the common grid."""
        return self.shape[1] // self.fold[0], self.shape[2] // self.fold[1]

    def to_sites(self, latents: Tensor) -> Tensor:
        """Return latents (N, D) as (N * sites, channels), sites row by row.

        Channels are ordered as by `torch.nn.functional.pixel_unshuffle`.
        """
        (height, width), (down, across) = self.sites, self.fold
        x = latents.reshape(-1, self.shape[0], height, down, width, across)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.channels)

    def from_sites(self, rows: Tensor) -> Tensor:
        """Undo `to_sites`."""
        (height, width), (down, across) = self.sites, self.fold
        x = rows.reshape(-1, height, width, self.shape[0], down, across)
        return x.permute(0, 3, 1, 4, 2, 5).reshape(-1, prod(self.shape))


class Conv1x1(Map):
    """The same ridge map at every site of two spatial latents: a 1x1 convolution with bias.

    Minimises sum over images i and sites p of |K s_ip + b - t_ip|^2 + alpha |K|^2 over the kernel
    K and b, where s_ip are the channels at one site.

    Grids must be equal, or one an integer multiple of the other in both directions. Then the
    finer one is folded into channels, as by `pixel_unshuffle`, so that both have the coarser
    grid, and the map is linear within each common site.

    The penalty is chosen by generalised cross-validation over sites. Sites of one image are not
    independent, so it is on the small side, and `cv_mse` is optimistic. Sites are many and
    channels few: it seldom matters.

    In the summary `n_train` counts images. `dof`, `rank`, `condition`, `cv_mse` and the flags are
    those of the ridge map between sites, and so are warnings of `fit`; `train_r2` is about the
    mean of each latent value, as for other maps, and may be negative: one bias for a channel can
    be less than one for a value. The summary also has `sites`, the common sites of one image.

    Args:
        source_shape: C, H and W of the source latents, which are flattened in this order, or
            None: `set_shapes` is called before `fit`.
        target_shape: The same for the target; both or none.
        alpha: Fixed penalty in squared source units, >= 0, or None to choose one.

    Raises:
        ValueError: Shapes as in `set_shapes`, one shape without the other, or `alpha` < 0; in
            `fit`, shapes that are not set or do not match the widths.

    Example:
        >>> fitted = Conv1x1((4, 16, 16), (3, 32, 32)).fit(source, target)
    """

    name = "conv1x1"

    def __init__(
        self,
        source_shape: Sequence[int] | None = None,
        target_shape: Sequence[int] | None = None,
        alpha: float | None = None,
    ) -> None:
        super().__init__()
        Ridge(alpha=alpha)  # checks it
        self.source_shape: list[int] | None = None
        self.target_shape: list[int] | None = None
        self.alpha = alpha
        if source_shape is not None and target_shape is not None:
            self.set_shapes(source_shape, target_shape)
        elif source_shape is not None or target_shape is not None:
            raise ValueError(
                f"map.source_shape={source_shape} and map.target_shape={target_shape}: give both, "
                "or leave both null"
            )

    def set_shapes(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Set the shapes, see `Map.set_shapes`; the last call counts.

        Raises:
            ValueError: A latent is not spatial (C, H, W) with more than one site, or neither grid
                is a multiple of the other.
        """
        _common_grid(source, target)
        self.source_shape, self.target_shape = [*map(int, source)], [*map(int, target)]

    def _fit(self, source: Tensor, target: Tensor, factorisation: Factorisation | None) -> None:
        grids = self._grids()
        for name, x, grid in zip(("source", "target"), (source, target), grids, strict=True):
            if x.shape[1] != prod(grid.shape):
                raise ValueError(
                    f"{name} has width {x.shape[1]} but map.{name}_shape={list(grid.shape)} makes "
                    f"{prod(grid.shape)}: set the shape that the latents had before flattening"
                )
        # float64 targets make a float64 kernel, so that predictions are rounded once, at the end.
        inner = Ridge(alpha=self.alpha).fit(
            grids[0].to_sites(source), grids[1].to_sites(target).double()
        )
        self._tensors = {
            "kernel": inner.weight,
            "kernel_bias": inner.bias,
            "like": dtype_carrier(target),
        }
        shared = ("alpha", "selection", "dof", "rank", "condition", "cv_mse", "interpolates")
        own = {key: inner.summary()[key] for key in (*shared, "at_edge")}
        own["sites"] = prod(grids[0].sites)
        self._measure(source, target, **own)

    @property
    def kernel(self) -> Tensor:
        """K, shape (C_t', C_s'), between the channels of one common site, folded ones included.

        The linear map of whole latents repeats it for every site and is not formed.
        """
        self._require_fit()
        return self._tensors["kernel"].to(self._tensors["like"])

    @property
    def kernel_bias(self) -> Tensor:
        """Intercept b of one common site, shape (C_t',)."""
        self._require_fit()
        return self._tensors["kernel_bias"].to(self._tensors["like"])

    def _predict_rows(self, source: Tensor) -> Tensor:
        inward, outward = self._grids()
        sites = inward.to_sites(source).to(torch.float64)
        moved = torch.addmm(self._tensors["kernel_bias"], sites, self._tensors["kernel"].T)
        return outward.from_sites(moved).to(self._tensors["like"])

    def _grids(self) -> tuple[_Grid, _Grid]:
        if self.source_shape is None or self.target_shape is None:
            raise ValueError(
                "map=conv1x1 has no shapes of the latents: call set_shapes, or set "
                "map.source_shape and map.target_shape to [C, H, W]"
            )
        return _common_grid(self.source_shape, self.target_shape)


def _common_grid(source: Sequence[int], target: Sequence[int]) -> tuple[_Grid, _Grid]:
    """Return two latents on the coarser of their grids; raises as `Conv1x1.set_shapes`."""
    shapes = f"source latents have shape {tuple(source)} and target latents {tuple(target)}"
    for shape in (source, target):
        if len(shape) != 3 or min(shape) < 1 or shape[1] * shape[2] == 1:
            raise ValueError(
                f"map=conv1x1 needs latents of shape (C, H, W) with more than one site, but "
                f"{shapes}: use map=ridge"
            )
    (c_s, h_s, w_s), (c_t, h_t, w_t) = source, target
    down, across = max(h_s // h_t, 1), max(w_s // w_t, 1)
    if (h_s, w_s) == (h_t * down, w_t * across):
        return _Grid((c_s, h_s, w_s), (down, across)), _Grid((c_t, h_t, w_t), (1, 1))
    down, across = max(h_t // h_s, 1), max(w_t // w_s, 1)
    if (h_t, w_t) == (h_s * down, w_s * across):
        return _Grid((c_s, h_s, w_s), (1, 1)), _Grid((c_t, h_t, w_t), (down, across))
    raise ValueError(
        f"map=conv1x1 needs equal grids, or one a multiple of the other in both directions, but "
        f"{shapes}: use map=ridge"
    )

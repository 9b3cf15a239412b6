"""Maps between the latents of models: fitted in both directions, composed, cut to a rank."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from stitching.compute import progress
from stitching.data.base import ImageSet
from stitching.maps import (
    Factorisation,
    Identity,
    InterpolationWarning,
    Map,
    PenaltyEdgeWarning,
    ReducedRank,
    Ridge,
    factorise,
)
from stitching.maps.matrix import Rows
from stitching.metrics.latent import latent_scores
from stitching.metrics.resampling import Resamples, Scores
from stitching.pipeline.cache import Cache, content_key
from stitching.pipeline.encoding import FrozenModel
from stitching.pipeline.finite import finite_rows
from stitching.pipeline.judging import image_judge


@dataclass(frozen=True, eq=False)
class Space:
    """The latents of one model.

    Attributes:
        frozen: The model.
        fingerprint: Of the images behind `train`.
        train: Latents that maps are fitted on, shape (N, D); read from disk where `map.chunk` is
            set.
        test: Latents that maps are applied to, shape (n, D).
        images: Those behind `train`, for a penalty that is chosen by images; or None.
    """

    frozen: FrozenModel
    fingerprint: str
    train: Rows
    test: Tensor
    images: ImageSet | None = None


@dataclass(frozen=True, eq=False)
class PickedRows:
    """Some rows of a matrix that is read by slices.

    Attributes:
        rows: The matrix.
        places: Of the rows, ascending, (n,).
    """

    rows: Rows
    places: Tensor

    @property
    def shape(self) -> torch.Size:
        """Rows and columns."""
        return torch.Size([len(self.places), self.rows.shape[1]])

    @property
    def dtype(self) -> torch.dtype:
        """Type of the values."""
        return self.rows.dtype

    @property
    def device(self) -> torch.device:
        """Device of slices."""
        return self.rows.device

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return a slice of the picked rows."""
        places = self.places[rows]
        if not len(places):
            return self.rows[0:0]
        first, last = int(places[0]), int(places[-1])
        return self.rows[first : last + 1][places - first]


def exclude_invalid(
    images: ImageSet, spaces: Sequence[Space]
) -> tuple[ImageSet, list[Space], dict[str, int]]:
    """Leave out fit images whose latents are not finite in some space.

    The fingerprint becomes that of the remaining images, so cached factorisations and probes are
    those of a data set without the others.

    Args:
        images: The fit images.
        spaces: Of encoder, decoder, and a third model where there is one.

    Returns:
        The remaining images, their spaces, and the number left out: `n_invalid_fit`, and by
        space `invalid/fit_source`, `invalid/fit_target`, `invalid/fit_via_0`.

    Raises:
        ValueError: Fewer than two images remain.
    """
    finite = [finite_rows(space.train) for space in spaces]
    kept = torch.stack(finite).all(0)
    places = kept.nonzero().flatten()
    names = ("source", "target", *(f"via_{k}" for k in range(len(spaces) - 2)))
    counts = {
        f"invalid/fit_{name}": int((~f).sum()) for name, f in zip(names, finite, strict=True)
    }
    counts["n_invalid_fit"] = len(images) - len(places)
    if len(places) == len(images):
        return images, list(spaces), counts
    if len(places) < 2:
        found = ", ".join(f"{key}={value}" for key, value in counts.items())
        raise ValueError(
            f"protocol.invalid=exclude leaves {len(places)} of {len(images)} fit images, but a "
            f"map needs 2 ({found}): look at the weights, value_range and dtype of these models"
        )
    images = images.pick(places.tolist())

    def remaining(rows: Rows) -> Rows:
        return rows[kept] if isinstance(rows, Tensor) else PickedRows(rows, places)

    spaces = [
        replace(space, fingerprint=images.fingerprint, train=remaining(space.train), images=images)
        for space in spaces
    ]
    return images, spaces, counts


class Factorisations:
    """Factorisations of training latents: the last few in memory, all of them on disk.

    Args:
        cache: Keeps them on disk.
        keep: Number kept in memory, with what their targets share: encoder and decoder. At
            9,000 images and 12,288 values each takes 1.4 GB.
    """

    def __init__(self, cache: Cache, keep: int = 2) -> None:
        self.cache, self.keep = cache, keep
        self._kept: dict[str, Factorisation] = {}

    def of(self, space: Space, chunk: int | None, device: torch.device) -> Factorisation:
        """Return the factorisation of a space's training latents, on a device."""
        parts = {
            "images": space.fingerprint,
            "model": space.frozen.identity(),
            "algorithm": Factorisation.identity,
            "streamed": chunk is not None,
            "solved_on": device.type,
        }
        key = content_key(parts | {"chunk": chunk})
        found = self._kept.pop(key, None)
        if found is None:
            stored = self.cache.tensors(
                "factorisations",
                parts,
                lambda: factorise(_on(space.train, device), chunk).to_tensors(),
            )
            found = Factorisation.from_tensors(stored, chunk).to(device)
        self._kept[key] = found  # now the last used
        while len(self._kept) > self.keep:
            self._kept.pop(next(iter(self._kept)))
        return found


@dataclass(frozen=True, eq=False)
class Fitting:
    """Fits one kind of map between spaces.

    Attributes:
        template: The map, unfitted; every fit is made on a copy.
        factorisations: Shared by all fits.
        device: Device of fits, unless latents are streamed; see `place`.
        by_hand: Returns the ridge penalty for the names of the YAMLs of source and target, in
            place of the template's; None to use the template.
        batch_size: Images per forward pass where the penalty is chosen by images.
    """

    template: Map
    factorisations: Factorisations
    device: torch.device
    by_hand: Callable[[str, str], float] | None = None
    batch_size: int = 32

    @property
    def chunk(self) -> int | None:
        """Rows of latents read at a time, None where they are in memory."""
        chunk: int | None = getattr(self.template, "chunk", None)
        return chunk

    @property
    def place(self) -> torch.device:
        """Device of maps: the CPU for streamed latents."""
        return torch.device("cpu") if self.chunk is not None else self.device

    def fit(self, source: Space, target: Space, *, for_images: bool = True) -> Map:
        """Return the map from one space to another, the identity within one space.

        Args:
            source: Space of the encoder.
            target: Space of the decoder.
            for_images: Whether mapped latents are decoded: only then is a penalty chosen by
                images, else by generalised cross-validation.
        """
        if source.frozen.identity() == target.frozen.identity():
            return Identity().fit(_on(source.train, self.place), _on(target.train, self.place))
        fitted = copy.deepcopy(self.template)
        if self.by_hand is not None:
            alpha = self.by_hand(source.frozen.model_name, target.frozen.model_name)
            fitted = Ridge(alpha=alpha, chunk=self.chunk)
        elif isinstance(fitted, Ridge) and fitted.selection == "images":
            if for_images:
                assert target.images is not None
                fitted.judged_by(image_judge(target.frozen, target.images, self.batch_size))
            else:
                fitted.selection = "gcv"
        return self._fitted(fitted, source, target)

    def fit_at(self, alpha: float, source: Space, target: Space) -> Map:
        """Return the map with this penalty in place of the one that it would choose.

        Raises:
            TypeError: The map has no penalty.
        """
        if not isinstance(self.template, Ridge):
            raise TypeError(f"map={self.template.name} has no penalty to set")
        return self._fitted(self.template.at(alpha), source, target)

    def _fitted(self, fitted: Map, source: Space, target: Space) -> Map:
        """Fit a map from one space to another."""
        fitted.set_shapes(source.frozen.latent_shape, target.frozen.latent_shape)
        names = [space.frozen.model.name for space in (source, target)]
        factorises, basis = fitted.uses_factorisation, None
        with progress.bar(1 + factorises, f"factorises {names[0]}", "step", even=False) as steps:
            if factorises:
                basis = self.factorisations.of(source, self.chunk, self.place)
                steps.update()
            steps.describe(f"fits {fitted.name} from {' to '.join(names)}")
            # Only a spectral map is streamed, and takes other rows than tensors.
            rows = [cast(Tensor, _on(space.train, self.place)) for space in (source, target)]
            fitted = fitted.fit(rows[0], rows[1], basis)
            steps.update()
        return fitted

    def narrowed(self, space: Space, test: str) -> Space:
        """Return a space with the leading principal components of its latents in their place.

        They are the coordinates along the leading eigenvectors of the factorisation that a map
        from the whole latents needs, in float32, strongest last. Means and directions are those
        of the fit images. They are in memory, also where the latents are streamed.

        Args:
            space: Of the encoder; itself the result where its model has no width.
            test: Fingerprint of the images of `Space.test`.

        Raises:
            ValueError: The fit images vary in fewer directions than there should be components.
        """
        wanted, model = space.frozen.width, space.frozen.model
        if wanted is None:
            return space
        frozen = replace(space.frozen, components_of=space.fingerprint)

        def project() -> dict[str, Tensor]:
            whole = replace(space, frozen=replace(frozen, width=None))
            basis = self.factorisations.of(whole, self.chunk, self.place)
            if basis.rank < wanted and not frozen.at_most:
                raise ValueError(
                    f"encoder.width={wanted}, but the latents of {model.name} vary in "
                    f"{basis.rank} directions over the {basis.n_train} fit images: lower it, or "
                    "raise data.n_train"
                )
            width = min(wanted, basis.rank)
            source = None if self.chunk is not None else _on(space.train, self.place)
            assert source is None or isinstance(source, Tensor)

            test = cast(Tensor, _on(space.test, self.place))
            train = basis.leading_left(space.train if source is None else source, width)
            found = {"train": train, "test": basis.leading(test, source, width)}
            return {name: rows.float().cpu() for name, rows in found.items()}

        parts = {"model": frozen.identity(), "test": test}
        kept = self.factorisations.cache.kept("components", parts, project)
        frozen = replace(frozen, width=kept["train"].shape[1])
        return replace(space, frozen=frozen, train=kept["train"], test=kept["test"])

    def apply(self, fitted: Map, latents: Tensor) -> Tensor:
        """Return mapped latents, on the CPU."""
        return fitted.predict(latents.to(self.place)).cpu()

    def both_directions(
        self, source: Space, target: Space, mapped: Tensor, resamples: Resamples
    ) -> Scores:
        """Score the map back from the target, and the round trip.

        ``latent/reverse_*`` compare latents mapped from the target with the source's own;
        ``latent/round_trip_*`` compare the source's latents, mapped to the target and back, with
        themselves; ``map/reverse_*`` are facts of the map back.

        Args:
            source: Source of the forward map.
            target: Its target.
            mapped: The source's test latents mapped to the target.
            resamples: Of the test items.
        """
        back = self.fit_quietly(target, source)
        scores: Scores = {}
        for name, latents in (("reverse", target.test), ("round_trip", mapped)):
            scores |= _named(name, source.test, self.apply(back, latents), resamples)
        facts = back.summary()
        for key in ("alpha", "train_r2", "interpolates", "at_edge", "flat"):
            scores[f"map/reverse_{key}"] = facts.get(key)
        return scores

    def through(self, source: Space, via: Space, target: Space, resamples: Resamples) -> Scores:
        """Score the composition of a map to a third space and one from it, ``latent/via_*``.

        The difference to ``latent/r2`` of the direct map is the loss of the detour.
        """
        there = self.apply(self.fit_quietly(source, via), source.test)
        arrived = self.apply(self.fit_quietly(via, target), there)
        model = via.frozen.model
        return {
            "via": model.name,
            "weights/via": model.weights_hash,
            **_named("via", target.test, arrived, resamples),
        }

    def fit_quietly(self, source: Space, target: Space, *, for_images: bool = False) -> Map:
        """Return `fit` without the warnings that the cell of its own pair gives."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterpolationWarning)
            warnings.simplefilter("ignore", PenaltyEdgeWarning)
            return self.fit(source, target, for_images=for_images)


def ranks_of(reduced: ReducedRank, wanted: str | list[int]) -> list[int]:
    """Return the ranks at which images are measured, ascending.

    Args:
        reduced: The fitted map.
        wanted: Ranks, cut to the map's full rank; or "auto": powers of two, the rank that holds
            90 % of the map's variance, and the full rank.
    """
    top = reduced.max_rank
    if isinstance(wanted, str):
        powers = [2**k for k in range(top.bit_length())]
        ninety = int(reduced.summary()["rank_90"] or 0)
        wanted = [*powers, ninety, top]
    return sorted({min(rank, top) for rank in wanted})


def _named(name: str, true: Tensor, mapped: Tensor, resamples: Resamples) -> Scores:
    found = latent_scores(true, mapped, resamples)
    return {key.replace("latent/", f"latent/{name}_"): value for key, value in found.items()}


def _on(latents: Rows, device: torch.device) -> Rows:
    return latents.to(device) if isinstance(latents, Tensor) else latents

"""A small network on top of the linear map."""

import math
import warnings

import torch
from torch import Tensor

from stitching.maps.base import Map, dtype_carrier, require_at_least
from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import centred, column_mean
from stitching.maps.ridge import PenaltyEdgeWarning, Ridge
from stitching.maps.spectral import InterpolationWarning

#: Columns that vary less than this part of the root-mean-square column are not scaled up to the
#: others, which would amplify their values on new items.
_LEAST_SPREAD = 1e-2

#: Tensors of the linear part are stored under this prefix.
_LINEAR = "linear."


class MLP(Map):
    """The ridge map plus a network with one hidden layer, to measure what nonlinearity adds.

    z_tgt = ridge(z_src) + u (W2 gelu(W1 x + b1) + b2), with x the standardised source and u the
    spread of what ridge leaves of each target column. W2 = b2 = 0 before the first epoch: training
    starts at the linear map and is kept only as far as it lowers the error on held-out items.

    Every `val_every`-th fit item, from row 0, is a validation item; the rest is the training part.
    The network learns the residuals of a ridge map (penalty by generalised cross-validation)
    fitted on the training part alone, with statistics of the training part alone, by AdamW in
    float32 on the mean squared error in target units. After each epoch the validation error is
    measured; the weights of the best epoch are kept, those before the first epoch among them.
    Finally the ridge map is fitted again on all fit items, so that it is as good as `map=ridge`,
    and the network is added to that one.

    In a comparison with `map=ridge`:
    - With `epochs` 0 in the summary both maps are the same.
    - `val_mse` is a minimum over epochs, thus slightly optimistic, and so is its distance from
      `val_mse_linear`; the test items decide. Both are of the ridge map of the training part.
    - Where ridge passes through its training items it leaves no residuals to learn from. Residuals
      on held-out folds instead were noisier and gave worse maps between models of the zoo.

    `alpha`, `selection`, `rank`, `condition` and the flags in the summary are those of the ridge
    map, and so are warnings of `fit`. The summary also has `epochs`, the epoch whose weights were
    kept, 0 for the ridge map alone; and the squared errors per element on validation items,
    `val_mse` and, of the ridge map of the training part, `val_mse_linear`.

    Args:
        hidden: Width of the hidden layer.
        epochs: Most passes over the training part.
        patience: Passes without a lower validation error after which training ends.
        batch_size: Items of one step.
        lr: Learning rate, constant, > 0.
        weight_decay: Of AdamW, on W1 and W2, >= 0.
        val_every: Distance of validation items, >= 2: 10 sets a tenth apart.
        seed: Of initial weights and the order of items; global generators are not used.

    Raises:
        ValueError: A value outside the ranges above; counts start at 1, the seed at 0. In `fit`,
            fewer than 2 items to train on, or training that diverges.

    Source: Hornik et al. (1989), doi:10.1016/0893-6080(89)90020-8; optimiser: Loshchilov and
    Hutter (2019), arXiv 1711.05101
    """

    name = "mlp"
    uses_factorisation = True

    def __init__(
        self,
        hidden: int = 512,
        epochs: int = 100,
        patience: int = 10,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        val_every: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_at_least("map", 1, hidden=hidden, epochs=epochs, patience=patience)
        require_at_least("map", 1, batch_size=batch_size)
        require_at_least("map", 2, val_every=val_every)
        require_at_least("map", 0, seed=seed)
        if not 0 < lr < math.inf:
            raise ValueError(f"map.lr must be > 0 and finite, got {lr}")
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"map.weight_decay must be >= 0 and finite, got {weight_decay}")
        self.hidden = hidden
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.val_every = val_every
        self.seed = seed
        self._linear: Ridge | None = None

    def _fit(self, source: Tensor, target: Tensor, factorisation: Factorisation | None) -> None:
        n = source.shape[0]
        held_out = torch.arange(n, device=source.device) % self.val_every == 0
        if int((~held_out).sum()) < 2:
            raise ValueError(
                f"map=mlp with map.val_every={self.val_every} keeps {int((~held_out).sum())} of "
                f"{n} items to train on and needs 2: raise map.val_every or data.n_train"
            )
        with warnings.catch_warnings():
            # The final fit warns of all items.
            warnings.simplefilter("ignore", InterpolationWarning)
            warnings.simplefilter("ignore", PenaltyEdgeWarning)
            part = Ridge().fit(source[~held_out], target[~held_out])
        residual = target.to(torch.float64) - part.predict(source)
        # A caller's inference mode would forbid gradients.
        with torch.inference_mode(False), torch.enable_grad():
            self._tensors, epoch = self._train(source, residual, held_out)
        self._tensors["like"] = dtype_carrier(target)
        val, val_residual = source[held_out], residual[held_out]
        bent = float((val_residual - self._network(val)).square().mean())
        linear = self._linear = Ridge().fit(source, target, factorisation)
        self._tensors |= {_LINEAR + key: value for key, value in linear._tensors.items()}
        shared = ("alpha", "selection", "rank", "condition", "interpolates", "at_edge")
        own = {key: linear.summary()[key] for key in shared} | {
            "epochs": epoch,
            "val_mse": bent,
            "val_mse_linear": float(val_residual.square().mean()),
        }
        self._measure(source, target, **own)

    def _predict_rows(self, source: Tensor) -> Tensor:
        if self._linear is None:  # read from a file
            self._linear = Ridge()
            self._linear._facts = self._facts
            self._linear._tensors = {
                key.removeprefix(_LINEAR): value
                for key, value in self._tensors.items()
                if key.startswith(_LINEAR)
            }
        moved = self._linear.predict(source) + self._network(source)
        return moved.to(self._tensors["like"])

    def _network(self, source: Tensor) -> Tensor:
        """The network's part of a prediction, float64."""
        kept = self._tensors
        # Float64, so that a prediction does not depend on how many are made at once.
        layers = [kept[key].to(torch.float64) for key in ("w1", "b1", "w2", "b2")]
        x = centred(source, kept["input_mean"]) / kept["input_scale"]
        return _forward(x, layers) * kept["output_scale"]

    def _train(
        self, source: Tensor, residual: Tensor, held_out: Tensor
    ) -> tuple[dict[str, Tensor], int]:
        """Fit the network to residuals (N, D_t); returns its tensors and their epoch."""
        mean = column_mean(source[~held_out])
        spread = centred(source[~held_out], mean).square().mean(0).sqrt()
        floor = float(spread.square().mean().sqrt()) * _LEAST_SPREAD
        scale = spread.clamp(min=floor or 1.0)
        units = residual[~held_out].square().mean(0).sqrt()
        pooled = float(units.square().mean().sqrt()) or 1.0
        x = (centred(source, mean) / scale).float()
        y = (residual / pooled).float()
        columns = (units / pooled).float()

        generator = torch.Generator().manual_seed(self.seed)
        layers = self._initial(x.shape[1], y.shape[1], generator, x)
        best, epoch = [layer.detach().clone() for layer in layers], 0
        lowest = float(y[held_out].square().mean())
        decay = {"params": layers[::2], "weight_decay": self.weight_decay}
        plain = {"params": layers[1::2], "weight_decay": 0.0}
        optimiser = torch.optim.AdamW([decay, plain], lr=self.lr)
        train_x, train_y = x[~held_out], y[~held_out]
        val_x, val_y = x[held_out], y[held_out]
        for now in range(1, self.epochs + 1):
            order = torch.randperm(train_x.shape[0], generator=generator)
            for rows in order.to(x.device).split(self.batch_size):
                loss = (_forward(train_x[rows], layers) * columns - train_y[rows]).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                error = float((_forward(val_x, layers) * columns - val_y).square().mean())
            if not math.isfinite(error):
                raise ValueError(
                    f"map=mlp diverged in epoch {now}: lower map.lr, now {self.lr}, or look at "
                    "the latents for extreme values"
                )
            if error < lowest:
                lowest, epoch = error, now
                best = [layer.detach().clone() for layer in layers]
            elif now - epoch >= self.patience:
                break
        named = dict(zip(("w1", "b1", "w2", "b2"), best, strict=True))
        scales = {"input_mean": mean, "input_scale": scale, "output_scale": units}
        return named | scales, epoch

    def _initial(
        self, d_source: int, d_target: int, generator: torch.Generator, like: Tensor
    ) -> list[Tensor]:
        """Initial weights as leaves: W1 and b1 of one size for standardised inputs, zeros else."""
        w1 = torch.randn(self.hidden, d_source, generator=generator) / math.sqrt(d_source)
        # Not 0: gelu(x) - x / 2 is even, so that an odd target such as tanh could not be fitted.
        b1 = torch.randn(self.hidden, generator=generator)
        last = torch.zeros(d_target, self.hidden), torch.zeros(d_target)
        return [layer.to(like).requires_grad_() for layer in (w1, b1, *last)]


def _forward(x: Tensor, layers: list[Tensor]) -> Tensor:
    """Return W2 gelu(W1 x + b1) + b2 for rows x."""
    w1, b1, w2, b2 = layers
    hidden = torch.nn.functional.gelu(torch.addmm(b1, x, w1.T))
    return torch.addmm(b2, hidden, w2.T)

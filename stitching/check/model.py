"""All checks of one model, without configuration or files."""

from collections.abc import Callable, Iterator

from torch import Tensor

from stitching.check import contract, ranges
from stitching.check.cost import cost
from stitching.check.findings import Finding, Level, guarded
from stitching.models.base import CPU_BATCH, GenerativeModel

#: Images of checks that run many passes: one batch on the CPU.
FEW = CPU_BATCH


def check_model(
    model: GenerativeModel, x: Tensor, latents: Tensor, known: bool = False, trained: bool = True
) -> Iterator[Finding]:
    """Check a model on images, and yield the findings.

    Args:
        model: A frozen model.
        x: Images, shape (N, 3, S, S) in [0, 1]; a few dozen.
        latents: Shape (N, D), decoded where the model cannot encode.
        known: Whether these are the latents of the images.
        trained: Whether the model is trained, so that its range can be judged.
    """
    yield contract.gradients_frozen(model)
    z, broken = latents, False
    if model.can_encode:
        # Further checks would fail for the same reason.
        first = guarded("latent shape", lambda: contract.latent_shape(model, x[:FEW]))
        yield first
        if first.level == Level.FAIL:
            return
        z = model.encode(x).cpu()
        yield contract.finite("finite latents", z)
        remedy = "return the mean or the mode, not a draw"
        for finding in _passes(model.encode, "encode", x, remedy):
            broken |= finding.level == Level.FAIL
            yield finding
    else:
        yield Finding("encode", Level.SKIPPED, f"model {model.name} cannot encode images")
    if model.can_decode:
        first = guarded("image shape", lambda: contract.image_shape(model, z[:FEW]))
        yield first
        if first.level == Level.FAIL:
            return
        yield contract.finite("finite images", model.decode(z))
        remedy = "keep its noise constant, or leave it out"
        for finding in _passes(model.decode, "decode", z, remedy):
            broken |= finding.level == Level.FAIL
            yield finding
        yield guarded("value range", lambda: ranges.value_range(model, x, z, trained))
    else:
        yield Finding("decode", Level.SKIPPED, f"model {model.name} is an encoder only")
    yield guarded(
        "evaluation mode",
        lambda: contract.evaluation_mode(model, lambda: _run(model, x[:FEW], z[:FEW])),
    )
    if known:
        yield guarded("known latents", lambda: ranges.quality(x, model.decode(latents)))
    elif model.can_encode and model.can_decode:
        yield guarded("round trip", lambda: ranges.quality(x, ranges.round_trip(model, x)))
        if broken:
            text = "not meaningful for a model whose passes differ: repair that first"
            yield Finding("other ranges", Level.SKIPPED, text)
            return
        found = guarded("other ranges", lambda: ranges.other_ranges(model, x[:FEW]))
        yield found
        if found.level == Level.SKIPPED:
            yield guarded("samples", lambda: ranges.samples(model, x))


def _passes(
    function: Callable[[Tensor], Tensor], name: str, items: Tensor, remedy: str
) -> Iterator[Finding]:
    yield guarded(
        f"{name} repeats",
        lambda: contract.repeatable(f"{name} repeats", function, items[:FEW], remedy),
    )
    check = f"{name} in batches"
    yield guarded(check, lambda: contract.batch_independent(check, function, items[:FEW]))
    yield guarded(f"{name} cost", lambda: cost(f"{name} cost", function, items))


def _run(model: GenerativeModel, x: Tensor, z: Tensor) -> None:
    if model.can_encode:
        model.encode(x)
    if model.can_decode:
        model.decode(z)

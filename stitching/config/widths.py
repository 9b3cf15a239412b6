"""Widths of latents: `encoder.width`, and that of a model which has such an option itself."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from hydra.utils import get_object

MATCH = "match"


class Width(NamedTuple):
    """How many leading components of an encoder's latents are used.

    Attributes:
        components: Their number; None for the latents themselves.
        at_most: Whether fewer will do, where the fit images have no more.
    """

    components: int | None = None
    at_most: bool = False


def without_width(node: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return a role's model without the role's `width`, and that width; None where it has none.

    The option stays where the class takes it itself.
    """
    if "width" not in node:
        return node, None
    rest = {key: value for key, value in node.items() if key != "width"}
    if node["width"] is None:
        return rest, None
    return (node, None) if _takes_width(node) else (rest, node["width"])


def matched(node: dict[str, Any], other: int | None) -> dict[str, Any]:
    """Return a model's configuration with a `width: match` of its own as a number.

    Args:
        node: Configuration of the model.
        other: Width of the other role's latents; None where it is not known yet.
    """
    if node.get("width") != MATCH:
        return node
    rest = {key: value for key, value in node.items() if key != "width"}
    return rest if other is None else rest | {"match": other}


def wants_match(node: Mapping[str, Any], width: Any) -> bool:
    """Return whether a width depends on the other role."""
    return MATCH in (node.get("width"), width)


def check_width(role: str, wanted: Any, latent_dim: int, other: int | None) -> Width:
    """Return the width of a role's latents.

    Args:
        role: `encoder`, `decoder` or `via`.
        wanted: A number, `match`, or None.
        latent_dim: Width of the model's latents.
        other: Width of the other role's latents; None where it is not known yet.

    Raises:
        ValueError: It is no such value, larger than the latents, or not of an encoder.
    """
    if wanted is None:
        return Width()
    if role != "encoder":
        raise ValueError(
            f"{role}.width={wanted}: only an encoder's latents can be cut to their leading "
            f"components, a decoder needs all of its own: leave {role}.width out, or set "
            "encoder.width=match to make the encoder as wide"
        )
    if wanted == MATCH:
        return Width(min(other or latent_dim, latent_dim), at_most=True)
    if type(wanted) is not int or wanted < 1:
        raise ValueError(f"{role}.width={wanted!r}: use a whole number >= 1, match or null")
    if wanted > latent_dim:
        raise ValueError(
            f"{role}.width={wanted}, but its latents have {latent_dim} values: lower it, or leave "
            "it out"
        )
    return Width(wanted)


def _takes_width(node: Mapping[str, Any]) -> bool:
    try:
        return "width" in inspect.signature(get_object(node["_target_"])).parameters
    except Exception:  # a wrong _target_, whose own error follows
        return False

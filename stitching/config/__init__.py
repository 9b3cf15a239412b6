"""Composes configurations with Hydra, makes them plain, and builds what they describe."""

from stitching.config.compose import (
    ROLES,
    absolute,
    cache_root,
    conf_dir,
    register_roles,
    to_plain,
)
from stitching.config.instantiate import (
    USER_ERRORS,
    build,
    build_data,
    build_model,
    build_protocol,
    model_options,
    open_cache,
    weight_file,
)
from stitching.config.labels import label_models
from stitching.config.plain import Composed, RoleModel, compose_config, resolve

__all__ = [
    "ROLES", "USER_ERRORS", "Composed", "RoleModel", "absolute", "build", "build_data",
    "build_model", "build_protocol", "cache_root", "compose_config", "conf_dir", "label_models",
    "model_options", "open_cache", "register_roles", "resolve", "to_plain", "weight_file",
]  # fmt: skip

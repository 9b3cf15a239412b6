"""Composes configurations and builds what they describe; the only room that knows Hydra."""

from stitching.config.compose import (
    ROLES,
    absolute,
    cache_root,
    check_keys,
    conf_dir,
    model_node,
    model_options,
    register_roles,
    role_node,
    to_plain,
)
from stitching.config.instantiate import (
    USER_ERRORS,
    build,
    build_data,
    build_model,
    build_protocol,
    compose_config,
    open_cache,
    weight_file,
)
from stitching.config.labels import label_models

__all__ = [
    "ROLES", "USER_ERRORS", "absolute", "build", "build_data", "build_model", "build_protocol",
    "cache_root", "check_keys", "compose_config", "conf_dir", "label_models", "model_node",
    "model_options", "open_cache", "register_roles", "role_node", "to_plain", "weight_file",
]  # fmt: skip

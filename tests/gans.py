"""Small GANs, and snapshot pickles as NVIDIA's code writes them."""

import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import torch

from stitching.models.gan import GAN


def small_gan_options(**options):
    defaults = {
        "name": "gan", "image_size": 32, "z_dim": 16, "w_dim": 24, "mapping_layers": 2,
        "channel_base": 256, "channel_max": 16, "conv_clamp": None, "space": "z",
        "truncation": 1.0, "noise": "const", "ema": True, "value_range": [-1.0, 1.0],
    }  # fmt: skip
    return {"_target_": "stitching.models.gan.GAN", **defaults, **options}


def small_gan(**options):
    """A GAN whose every parameter matters, as after training; its weights hash is "small"."""
    torch.manual_seed(0)
    arguments = small_gan_options(**options)
    arguments.pop("_target_")
    model = GAN(**arguments)
    for name, value in model.named_parameters():
        if name.endswith(("noise_strength", ".bias")):
            value.data += 0.1 * torch.randn_like(value)
    model.generator.mapping.w_avg.normal_(std=0.1)
    model.weights_hash = "small"
    return model.freeze()


class _Reduced:
    """Pickled as a call of a function, by name only."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def network(state_dict, source="", **init_kwargs):
    """A network as `torch_utils.persistence` pickles it, from its tensors by name."""
    tree = {}
    for name, value in state_dict.items():
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return _module(tree, source, init_kwargs)


def _module(tree, source, init_kwargs):
    own = {k: v for k, v in tree.items() if isinstance(v, torch.Tensor)}
    buffers = ("noise_const", "resample_filter", "w_avg")
    state = {
        "training": False,
        "_parameters": OrderedDict(
            (k, torch.nn.Parameter(v)) for k, v in own.items() if k not in buffers
        ),
        "_buffers": OrderedDict((k, v) for k, v in own.items() if k in buffers),
        "_non_persistent_buffers_set": set(),
        "_modules": OrderedDict(
            (k, _module(v, source, {})) for k, v in tree.items() if isinstance(v, dict)
        ),
        "bias_gain": np.float64(1.0),
        "_init_args": (),
        "_init_kwargs": init_kwargs,
    }
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Generator"}
    return _Reduced(_published()["torch_utils.persistence"], {**meta, "state": state})


def write_snapshot(path, monkeypatch, protocol=4, **entries):
    """Write a snapshot pickle: entries beside `training_set_kwargs`, those not given None."""
    stand_ins = _published()
    for name, thing in stand_ins.items():
        module = types.ModuleType(name)
        setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, name, module)
        package = name.partition(".")[0]
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    easy = stand_ins["dnnlib.util"]({"path": "images.zip", "resolution": 32})
    content = {"training_set_kwargs": easy, "G": None, "D": None, "G_ema": None, **entries}
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def _reconstruct_persistent_obj(meta):
    raise AssertionError("only its name is pickled")


class EasyDict(dict):
    pass


def _published():
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    EasyDict.__module__ = "dnnlib.util"
    return {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}

"""Quality of samples of the trained models of a sweep, for claim C8.

    python tests/benchmarks/samples.py DIR [--n 512]

Draws n images from every trained model that has cells in DIR, and writes their kernel distance to
n test images of the sweep's data, in EfficientNet features, to DIR/samples.json: lower is better.
A VQ-VAE or another autoencoder needs a second model to draw from, and is left out.
"""

import argparse
from pathlib import Path

from stitching import config
from stitching.claims import read_evidence
from stitching.claims.samples import FILE
from stitching.metrics.effnet import EffNet
from stitching.metrics.kernel import kernel_distance
from stitching.records.files import write_json

#: Families with a prior of their own.
DRAW = ("vae", "nf", "dm", "gan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--n", type=int, default=512)
    args = parser.parse_args()
    evidence = next(read_evidence([args.dir]))
    settings = evidence.first.config["data"] | {"n_test": args.n, "n_train": 1}
    images = config.build_data(settings).split("test").images(slice(None))
    space = EffNet(224)
    reference = space.features(images)
    found = []
    for name in evidence.trained:
        if evidence.grid.kinds[name] not in DRAW:
            continue
        cells = evidence.grid.cells.values()
        node = next(
            cell.config[role]
            for cell in cells
            for role, label in zip(("encoder", "decoder"), cell.pair, strict=True)
            if label == name
        )
        model = config.build_model(node)
        distance = kernel_distance(reference, space.features(model.sample(args.n)))
        found.append({"name": name, "weights": model.weights_hash, "value": distance})
        print(f"{name}: {distance:.4g}", flush=True)
    write_json(args.dir / FILE, {"measure": "kd_effnet", "n": args.n, "models": found})


if __name__ == "__main__":
    main()

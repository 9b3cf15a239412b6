"""Time the map stage of a grid, side by side in one process: `make bench`.

Every ordered pair of four latent spaces, as a sweep fits them. Ours: one factorisation per
encoder, a hundred penalties by generalised cross-validation, test predictions. Theirs:
scikit-learn's `Ridge` with one fixed penalty, from scratch for each pair. Also the rate of the
face renderer on one core.
"""

import argparse
import statistics
import time

import torch
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.data.faces import Faces
from stitching.maps import Ridge, factorise


def spaces(n, widths, seed=0):
    """Latents that share 64 factors, plus noise, for n + 128 items."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n + 128, 64, generator=generator)
    return [
        shared @ torch.randn(64, width, generator=generator)
        + torch.randn(n + 128, width, generator=generator)
        for width in widths
    ]


def ours(latents, n):
    for i, source in enumerate(latents):
        basis = factorise(source[:n])
        for j, target in enumerate(latents):
            if i != j:
                Ridge().fit(source[:n], target[:n], basis).predict(source[n:])


def theirs(latents, n):
    arrays = [z.numpy() for z in latents]
    for i, source in enumerate(arrays):
        for j, target in enumerate(arrays):
            if i != j:
                SklearnRidge(alpha=100.0).fit(source[:n], target[:n]).predict(source[n:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--widths", type=int, nargs="*", default=[512, 768, 4096, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    latents = spaces(args.n, args.widths)
    seconds = {"ours": [], "scikit-learn": []}
    for _ in range(args.rounds):
        for name, run in (("ours", ours), ("scikit-learn", theirs)):
            started = time.perf_counter()
            run(latents, args.n)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"map stage, n={args.n}, widths {args.widths}, {args.rounds} rounds, medians:")
    print(f"  ours, 100 penalties and the choice  {medians['ours']:8.2f} s")
    print(f"  scikit-learn Ridge, one penalty     {medians['scikit-learn']:8.2f} s")
    print(
        f"  ratio                               {medians['ours'] / medians['scikit-learn']:8.2f}"
    )
    faces = Faces("faces", 400, 1, 64, 0, 1).split("train")
    started = time.perf_counter()
    faces.images(slice(None))
    print(f"faces drawn on one core: {400 / (time.perf_counter() - started):.0f} images/s")


if __name__ == "__main__":
    main()

"""Time the map stage beside other libraries, in one process: `make bench`.

    python tests/benchmarks/maps.py third     # a third of the paper's size, against libraries
    python tests/benchmarks/maps.py full      # the paper's size, 16 ordered pairs
    python tests/benchmarks/maps.py growth    # in the number of images and of decoders
    python tests/benchmarks/maps.py stream    # 100,000 latents on disk
    python tests/benchmarks/maps.py all --out bench.json

Rounds alternate between the contestants; figures are medians. Latents are synthetic: 64 factors
that all spaces share, a spectrum that falls off as that of images does, and noise.
"""

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from stitching.compute.rows import Rows
from stitching.data.faces import Faces
from stitching.maps import Ridge, factorise

THIRD = (3000, [171, 256, 4096, 4096])
FULL = (9000, [512, 768, 12288, 12288])
N_TEST = 128
LIBRARIES = ("Ridge, one penalty", "LinearRegression", "himalaya, 15 penalties, 5 folds")


def spaces(n, widths, seed=0):
    """Latents for n training and N_TEST test items."""
    rng = torch.Generator().manual_seed(seed)
    shared = torch.randn(n + N_TEST, 64, generator=rng) * torch.logspace(1, -1, 64)
    return [
        shared @ torch.randn(64, width, generator=rng)
        + torch.randn(n + N_TEST, width, generator=rng) * torch.logspace(0, -1, width)
        for width in widths
    ]


def split(latents, n, device="cpu"):
    return [(z[:n].to(device), z[n:].to(device)) for z in latents]


def pairs(count):
    return [(i, j) for i in range(count) for j in range(count) if i != j]


def ours(latents):
    """Fit and predict every ordered pair, a hundred penalties each; return the predictions."""
    found = {}
    for i, (source, test) in enumerate(latents):
        basis = factorise(source)
        for j, (target, _) in enumerate(latents):
            if i != j:
                fitted = Ridge().fit(source, target, basis)
                found[i, j] = float(fitted.alpha_), fitted.predict(test)
    if source.is_cuda:
        torch.cuda.synchronize()
    return found


def library(make):
    def run(latents):
        for i, j in pairs(len(latents)):
            (source, test), (target, _) = latents[i], latents[j]
            make().fit(source.numpy(), target.numpy()).predict(test.numpy())

    return run


def himalaya(latents):
    """The estimator that himalaya advises for the shape."""
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    grid = np.logspace(-2, 12, 15)
    for i, j in pairs(len(latents)):
        (source, test), (target, _) = latents[i], latents[j]
        wide = source.shape[1] > source.shape[0]
        model = KernelRidgeCV(alphas=grid, cv=5) if wide else RidgeCV(alphas=grid, cv=5)
        model.fit(source.numpy(), target.numpy()).predict(test.numpy())


def contestants():
    from sklearn.linear_model import LinearRegression
    from sklearn.linear_model import Ridge as OnePenalty

    return {
        "ours, 100 penalties": ours,
        LIBRARIES[0]: library(lambda: OnePenalty(alpha=1e4)),
        LIBRARIES[1]: library(LinearRegression),
        LIBRARIES[2]: himalaya,
    }


def timed(run, *arguments):
    gc.collect()
    started = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - started, result


def exact(source, target, test, alpha):
    """The ridge prediction in float64 by a Cholesky factor, without an eigenvector."""
    source, target, test = (x.double() for x in (source, target, test))
    mean, centre = source.mean(0), target.mean(0)
    source, target, test = source - mean, target - centre, test - mean
    if source.shape[1] <= source.shape[0]:
        gram = source.T @ source
        gram.diagonal().add_(alpha)
        weights = torch.cholesky_solve(test.T, torch.linalg.cholesky(gram))
        return (source @ weights).T @ target + centre
    gram = source @ source.T
    gram.diagonal().add_(alpha)
    weights = torch.cholesky_solve(source @ test.T, torch.linalg.cholesky(gram))
    return weights.T @ target + centre


def third(rounds, slow_rounds):
    """The grid at a third of the paper's size against other libraries."""
    n, widths = THIRD
    latents = split(spaces(n, widths), n)
    seconds, predictions = {}, {}
    runs = contestants()
    ours(split(spaces(200, [50, 60]), 200))  # libraries load, threads start
    for number in range(rounds):
        for name, run in runs.items():
            if number < (rounds if name in list(runs)[:2] else slow_rounds):
                took, found = timed(run, latents)
                seconds.setdefault(name, []).append(took)
                if found:
                    predictions = found
                print(f"  {name}: {took:.2f} s", flush=True)
    errors = {}
    for (i, j), (alpha, predicted) in predictions.items():
        truth = exact(latents[i][0], latents[j][0], latents[i][1], alpha)
        errors[i, j] = float((predicted.double() - truth).norm() / truth.norm())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    mine = medians["ours, 100 penalties"]
    return {
        "n": n, "widths": widths, "pairs": 12, "n_test": N_TEST, "rounds": seconds,
        "medians_s": medians,
        "ratio": {name: medians[name] / mine for name in LIBRARIES if name in medians},
        "error": max(errors.values()),
        "share": share(latents, mine),
    }  # fmt: skip


def rate(dtype, size=4096):
    """Floating-point operations per second of this machine's own matrix product."""
    x = torch.randn(size, size, dtype=dtype)
    y = torch.empty_like(x)
    torch.mm(x, x, out=y)
    return 2 * size**3 / min(timed(torch.mm, x, x)[0] for _ in range(5))


def operations(latents):
    """Operations that the map stage needs, in float64 and in float32.

    Gram matrix (half of it): N K max(N, D). Eigendecomposition: 4/3 K^3 to tridiagonal form,
    4/3 K^3 to diagonal, 2 K^3 for the vectors. Both in float64, as are the kernel of the test
    items and their coordinates. A target: 2 N K D_t, its predictions 2 n K D_t, in float32.
    """
    double = single = 0.0
    for i, (source, test) in enumerate(latents):
        n, d = source.shape
        k = min(n, d)
        double += k * k * max(n, d) + 14 / 3 * k**3
        double += 2 * len(test) * k * (n if d > n else 0) + 2 * len(test) * d * k
        if d <= n:
            double += 2 * n * d * d  # S V
        for j, (target, _) in enumerate(latents):
            if i != j:
                single += 2 * (n + len(test)) * k * target.shape[1]
    return double, single


def share(latents, seconds):
    """Part of the time that the same operations take at the rate of a plain matrix product."""
    double, single = operations(latents)
    rates = {dtype: rate(dtype) for dtype in (torch.float64, torch.float32)}
    ideal = double / rates[torch.float64] + single / rates[torch.float32]
    return {
        "float64_gflop": double / 1e9, "float32_gflop": single / 1e9,
        "float64_gflops": rates[torch.float64] / 1e9,
        "float32_gflops": rates[torch.float32] / 1e9,
        "ideal_s": ideal, "share": ideal / seconds,
    }  # fmt: skip


def full():
    """The paper's size: four encoders, all sixteen ordered pairs, own space included."""
    n, widths = FULL
    latents = split(spaces(n, widths), n)
    encoders = {}
    started = time.perf_counter()
    for i, (source, test) in enumerate(latents):
        took, basis = timed(factorise, source)
        times = []
        for target, _ in latents:
            fit, fitted = timed(Ridge().fit, source, target, basis)
            predict, _ = timed(fitted.predict, test)
            times.append(fit + predict)
            del fitted
        encoders[f"{widths[i]} ({i + 1})"] = {"factorise_s": took, "decoders_s": times}
        print(f"  width {widths[i]}: {took:.1f} s, decoders {np.round(times, 1)}", flush=True)
        del basis
    seconds = time.perf_counter() - started
    return {
        "n": n, "widths": widths, "pairs": 16, "n_test": N_TEST, "seconds": seconds,
        "peak_gib": peak_gib(), "encoders": encoders, "share": share_of_all(latents, seconds),
    }  # fmt: skip


def share_of_all(latents, seconds):
    double, single = operations(latents)
    for source, test in latents:  # the own space too
        single += 2 * (len(source) + len(test)) * min(source.shape) * source.shape[1]
    ideal = double / rate(torch.float64) + single / rate(torch.float32)
    return ideal / seconds


def growth():
    """One encoder: growth in the number of images, and in that of decoders."""
    by_n = {}
    for n in (1000, 3000, 9000):
        source, target = split(spaces(n, [4096, 4096]), n)
        took, basis = timed(factorise, source[0])
        fit, _ = timed(Ridge().fit, source[0], target[0], basis)
        by_n[n] = {"factorise_s": took, "fit_s": fit}
        print(f"  n = {n}: {took:.2f} s + {fit:.2f} s", flush=True)
    n = 3000
    (source, test), *targets = split(spaces(n, [4096] * 9), n)
    by_decoders, total = {}, 0.0
    took, basis = timed(factorise, source)
    total = took
    for count, (target, _) in enumerate(targets, 1):
        fit, fitted = timed(Ridge().fit, source, target, basis)
        total += fit + timed(fitted.predict, test)[0]
        by_decoders[count] = total
    print(f"  decoders: {by_decoders}", flush=True)
    return {"width": 4096, "by_n": by_n, "n": n, "by_decoders_s": by_decoders}


def stream():
    """A fit on latents on disk, in a process of its own whose memory is measured."""
    rows = []
    for n in (25_000, 100_000):
        command = [sys.executable, __file__, "stream-once", "--n", str(n)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(answer.splitlines()[-1]))
        print(f"  {rows[-1]}", flush=True)
    return rows


def stream_once(n, width=3072, chunk=2048, block=1000):
    rng = torch.Generator().manual_seed(0)
    bases = [torch.randn(64, width, generator=rng) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        files = {0: [], 1: []}
        for start in range(0, n, block):
            shared = torch.randn(block, 64, generator=rng)
            for side, basis in enumerate(bases):
                z = shared @ basis + torch.randn(block, width, generator=rng)
                path = Path(folder) / f"{side}-{start}.safetensors"
                save_file({"latents": z}, path)
                files[side].append(path)
        before = peak_gib()
        source, target = Rows(files[0]), Rows(files[1])
        took, basis = timed(factorise, source, chunk)
        fit, fitted = timed(Ridge(chunk=chunk).fit, source, target, basis)
        peak = peak_gib()
        some = slice(0, 500)
        r2 = 1 - float(
            (fitted.predict(source[some]) - target[some]).square().sum()
            / (target[some] - target[some].mean(0)).square().sum()
        )
    result = {
        "n": n, "width": width, "chunk": chunk, "factorise_s": took, "fit_s": fit,
        "rows_per_s": n / (took + fit), "peak_gib": peak, "peak_before_gib": before, "r2": r2,
    }  # fmt: skip
    print(json.dumps(result))


def faces():
    """The face renderer, on one core."""
    images = Faces("faces", 400, 1, 64, 0, 1).split("train")
    took, _ = timed(images.images, slice(None))
    return {"images_per_s": 400 / took}


def cuda(rounds):
    """The same grid on a CUDA device with TF32 off, and its distance from float64."""
    torch.backends.cuda.matmul.allow_tf32 = False
    n, widths = THIRD
    latents = split(spaces(n, widths), n, "cuda")
    ours(latents)
    seconds, found = zip(*(timed(ours, latents) for _ in range(rounds)), strict=True)
    errors = []
    for (i, j), (alpha, predicted) in found[-1].items():
        truth = exact(latents[i][0], latents[j][0], latents[i][1], alpha)
        errors.append(float((predicted.double() - truth).norm() / truth.norm()))
    return {
        "device": torch.cuda.get_device_name(), "seconds": statistics.median(seconds),
        "error": max(errors), "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }  # fmt: skip


def peak_gib():
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def machine():
    """What the figures depend on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.partition("+")[0],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = ("third", "full", "growth", "stream", "cuda", "faces", "all", "stream-once")
    parser.add_argument("step", choices=steps, nargs="?", default="third")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--slow-rounds", type=int, default=1, help="of the libraries that take long"
    )
    parser.add_argument("--n", type=int, default=100_000, help="rows of stream-once")
    parser.add_argument("--out", type=Path, help="JSON file for the results, added to")
    args = parser.parse_args()
    if args.step == "stream-once":
        stream_once(args.n)
        return
    todo = {
        "third": lambda: third(args.rounds, args.slow_rounds),
        "full": full,
        "growth": growth,
        "stream": stream,
        "cuda": lambda: cuda(args.rounds),
        "faces": faces,
    }
    if args.step != "all":
        todo = {args.step: todo[args.step]}
    elif not torch.cuda.is_available():
        del todo["cuda"]
    results = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for name, run in todo.items():
        print(f"{name}: {run.__doc__ or todo[name].__doc__ or ''}".strip(), flush=True)
        results[name] = {"machine": machine(), "result": run()}
        print(json.dumps(results[name], indent=1))
        if args.out:
            args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Write the measured tables of README.md and docs/ZOO.md from files, so that none is typed.

python tests/benchmarks/published.py grid SWEEP      # README.md and docs/grid.png
python tests/benchmarks/published.py zoo ZOO.json    # docs/ZOO.md, from benchmarks/zoo.py
python tests/benchmarks/published.py bench B.json    # docs/BENCHMARKS.md, from benchmarks/maps.py
python tests/benchmarks/published.py measures M.json # docs/BENCHMARKS.md, of measures.py
python tests/benchmarks/published.py protocols SWEEP # docs/MEASURES.md, from experiment=protocols
python tests/benchmarks/published.py coverage C.json ... # docs/MEASURES.md, of coverage.py
python tests/benchmarks/published.py sweeps S.json   # docs/SWEEPS.md, from benchmarks/sweeps.py
python tests/benchmarks/published.py preflight P.json # docs/SWEEPS.md, from preflight.py
python tests/benchmarks/published.py limits L.json   # docs/MAPS.md, from benchmarks/limits.py
"""

import json
import re
import shutil
import sys
import textwrap
from pathlib import Path

import pandas as pd

from stitching.results.cell import family
from stitching.results.controls import is_control
from stitching.results.finding import finding
from stitching.results.grid import read_grid

ROOT = Path(__file__).parents[2]
MODELS = ["vae", "nf", "vqvae", "dm"]
COLUMNS = {
    "RMSE": ("image/rmse", ".3f"),
    "R2": ("latent/r2", ".2f"),
    "beyond pixels": ("latent/r2_beyond_pixels", ".2f"),
}


def replace(path, name, text):
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`."""
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    old = path.read_text()
    new, count = re.subn(marks, lambda m: m[1] + text + m[2], old, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path} has {count} blocks named {name}")
    path.write_text(new)


def table(head, rows, align):
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "|".join(align) + "|", *lines[1:]]) + "\n"


def grid(folder):
    """The grid of a sweep, encoders down, decoders across, measure by measure."""
    cells = pd.read_parquet(folder / "grid.parquet")
    head, rows = [""], {}
    for name in cells["encoder"].unique():  # controls first
        rows[name] = [f"*`{name}`*" if is_control(family(name)) else f"`{name}`"]
    for title, (key, form) in COLUMNS.items():
        values = cells.pivot(index="encoder", columns="decoder", values=key)
        for decoder in MODELS:
            head.append(f"{title} `{decoder}`")
            for encoder, row in rows.items():
                value = values.loc[encoder, decoder]
                row.append("" if pd.isna(value) else format(value, form).replace("-0.00", "0.00"))
    shared = cells.attrs
    minutes, seconds = divmod(round(cells["time/total_s"].sum()), 60)
    text = table(head, rows.values(), ["---"] + ["---:"] * (len(head) - 1))
    text += (
        f"\n{shared['n_train']:,} drawn faces to fit, {shared['n_test']} to test, "
        f"{shared['dtype']}; {len(cells)} cells in {minutes} min {seconds} s on 2 CPU cores, "
        f"{cells['count/images_encoded'].sum():,} images encoded.\n"
    )
    replace(ROOT / "README.md", "grid", text)
    sentences = finding(read_grid(folder))
    lines = [textwrap.fill(f"- {x}", 99, subsequent_indent="  ") for x in sentences]
    replace(ROOT / "README.md", "answer", "\n".join(lines) + "\n")
    shutil.copyfile(folder / "pictures.png", ROOT / "docs" / "grid.png")


def zoo(path):
    """Reconstruction and samples of each model, and the floors."""
    found = json.loads(path.read_text())
    n, rows = found.pop("n"), []
    for name, row in found.items():
        if not isinstance(row, dict):
            rows.append([name, "", "", f"{row:.0f}", ""])
            continue
        keys = {
            "rmse": "#.2g",
            "fd_effnet_reconstructions": ".0f",
            "fd_effnet_samples_fitted": ".0f",
            "fd_effnet_samples": ".0f",
        }
        shown = [format(row[key], form) if key in row else "" for key, form in keys.items()]
        if "prior_rank" in row:
            shown[2] += f" (rank {row['prior_rank']})"
        rows.append([f"`{name}`", *shown])
    head = [
        "model",
        "own reconstruction, RMSE",
        "reconstructions, Fréchet",
        "samples of a fitted Gaussian, Fréchet",
        "samples of the trained prior, Fréchet",
    ]
    text = table(head, rows, ["---", "---:", "---:", "---:", "---:"])
    shutil.copyfile(path.parent / "samples.png", ROOT / "docs" / "samples.png")
    replace(ROOT / "docs" / "ZOO.md", "zoo", text + f"\n{n} held-out faces.\n")


def bench(path):
    """The map stage: beside libraries, at full size, in growth, streamed."""
    found = {name: part["result"] for name, part in json.loads(path.read_text()).items()}
    where = json.loads(path.read_text())["third"]["machine"]
    text = (
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads, "
        f"{where['capability']}, torch {where['torch']}.\n\n"
    )
    for part in (_third, _full, _growth, _stream):
        if part.__name__[1:] in found:
            text += part(found[part.__name__[1:]]) + "\n"
    if "cuda" in found:
        one = found["cuda"]
        text += (
            f"## On a CUDA device\n{one['device']}, TF32 off: the same 12 pairs in "
            f"{one['seconds']:.2f} s, {one['error']:.0e} from the float64 solution.\n"
        )
    else:
        text += "No CUDA device was available: `maps.py cuda` measures the same on one.\n"
    replace(ROOT / "docs" / "BENCHMARKS.md", "bench", text)


def _third(one):
    rows = []
    for name, seconds in one["medians_s"].items():
        ratio = f"{one['ratio'][name]:.2f}" if name in one["ratio"] else "1"
        label = (
            f"scikit-learn {name}" if name in ("Ridge, one penalty", "LinearRegression") else name
        )
        rows.append([label, len(one["rounds"][name]), f"{seconds:.2f}", ratio])
    head = ["", "rounds", "seconds (median)", "times ours"]
    part = one["share"]
    widths = ", ".join(map(str, one["widths"]))
    return (
        f"## A third of the paper's size\n{one['n']:,} images, widths {widths}, all 12 pairs "
        f"fitted and {one['n_test']} items predicted; ours chooses by generalised "
        "cross-validation.\n\n"
        + table(head, rows, ["---", "---:", "---:", "---:"])
        + f"\nPredictions are within {one['error']:.0e} (norm of the difference over norm, worst "
        "pair) of the float64 solution by Cholesky.\nThe algorithm needs "
        f"{part['float64_gflop']:.0f} GFLOP in float64, {part['float32_gflop']:.0f} in float32; "
        f"this machine's matrix product does {part['float64_gflops']:.0f} and "
        f"{part['float32_gflops']:.0f} GFLOP/s. That would take {part['ideal_s']:.2f} s: "
        f"{part['share']:.0%} of the machine's rate is reached.\n"
    )


def _full(one):
    rows = []
    for name, parts in one["encoders"].items():
        rows.append(
            [name, f"{parts['factorise_s']:.1f}", *(f"{s:.1f}" for s in parts["decoders_s"])]
        )
    head = ["encoder", "factorise", *(f"to {width}" for width in one["widths"])]
    minutes, seconds = divmod(round(one["seconds"]), 60)
    return (
        f"## The paper's size\n{one['n']:,} images, 16 pairs, 100 penalties: {minutes} min "
        f"{seconds} s, peak memory {one['peak_gib']:.1f} GiB, {one['share']:.0%} of the rate of a "
        "matrix product. Seconds:\n\n" + table(head, rows, ["---"] + ["---:"] * (len(head) - 1))
    )


def _growth(one):
    rows = [
        [f"{int(n):,}", f"{parts['factorise_s']:.2f}", f"{parts['fit_s']:.2f}"]
        for n, parts in one["by_n"].items()
    ]
    counts = one["by_decoders_s"]
    return (
        f"## Growth\nWidth {one['width']:,} to {one['width']:,}, seconds:\n\n"
        + table(["images", "factorise", "each decoder"], rows, ["---:"] * 3)
        + f"\nAt {one['n']:,} images, by number of decoders:\n\n"
        + table(list(counts), [[f"{s:.2f}" for s in counts.values()]], ["---:"] * len(counts))
    )


def _stream(rows):
    shown = [
        [
            f"{r['n']:,}",
            f"{r['rows_per_s']:,.0f}",
            f"{r['factorise_s']:.0f}",
            f"{r['fit_s']:.0f}",
            f"{r['peak_gib']:.2f}",
        ]
        for r in rows
    ]
    head = ["images", "rows/s", "factorise, s", "fit, s", "peak memory of the process, GiB"]
    width = rows[0]["width"]
    return (
        f"## More images than memory\n{width:,} to {width:,} values, {rows[0]['chunk']:,} rows "
        "at a time from files:\n\n" + table(head, shown, ["---:"] * 5)
    )


def measures(path):
    """What measures and their intervals cost."""
    found = json.loads(path.read_text())
    rows = [
        [one["group"], one["measure"], f"{one['s']:.2f}", f"{one['without_intervals_s']:.2f}"]
        for one in found["rows"]
    ]
    for group in dict.fromkeys(one["group"] for one in found["rows"]):
        parts = [one for one in found["rows"] if one["group"] == group]
        sums = [sum(one[key] for one in parts) for key in ("s", "without_intervals_s")]
        rows.append([f"**{group}**", "all", *(f"**{total:.2f}**" for total in sums)])
    head = ["", "measure", "seconds", "without intervals"]
    text = table(head, rows, ["---", "---", "---:", "---:"])
    text += f"\n{found['n']:,} images, features computed before; medians of {found['rounds']}.\n"
    replace(ROOT / "docs" / "BENCHMARKS.md", "measures", text)


def protocols(folder):
    """What each switch of the protocol alone moves."""
    text = (folder / "protocols.md").read_text()
    section = text.partition("## What each switch alone moves\n")[2].partition("\n## ")[0]
    sizes = text.partition("\n- ")[2].partition("\n")[0].partition(", ")[2]
    replace(ROOT / "docs" / "MEASURES.md", "protocols", f"{sizes}.\n{section.rstrip()}\n")


def coverage(*paths):
    """How often intervals contain the truth; bold outside of .93 to .97."""
    found = [json.loads(path.read_text()) for path in paths]
    sizes, rows = found[0]["n"], []
    for one in (row for part in found for row in part["rows"]):
        row = [one["words"]]
        for n in sizes:
            part = one["n"].get(str(n))
            text = f"{part['coverage']:.3f}".lstrip("0") if part else ""
            outside = part and not 0.93 <= round(part["coverage"], 3) <= 0.97
            row.append(f"**{text}**" if outside else text)
        sims = [one["n"][str(n)]["sims"] for n in sizes if str(n) in one["n"]]
        rows.append([*row, ", ".join(f"{x:,}" for x in dict.fromkeys(sims))])
    head = ["measure", *(f"{n:,} test images" for n in sizes), "simulations"]
    text = table(head, rows, ["---", *["---:"] * (len(sizes) + 1)])
    text += (
        f"\nBold: outside of .93 to .97. Of 1,000 intervals the share is known to .007, of 100 to "
        f".022. Fit images: {found[0]['n_fit']} of 80 dimensions, the penalty chosen anew each "
        "time; the truth is the mean over fit sets of the R2 on all images, at this number of fit "
        "images. Widths decay as 1, 1/2, 1/3, ...\n"
    )
    replace(ROOT / "docs" / "MEASURES.md", "coverage", text)


def sweeps(path):
    """What a sweep costs beside its cells, in parallel, and when it is large."""
    found = json.loads(path.read_text())
    parts = found["overhead"]
    order = sorted((k for k in parts if k not in ("wall", "overhead")), key=lambda k: -parts[k])
    text = f"{found['machine']}; medians.\n\n"
    text += "A warm grid of 16 cells, seconds per cell: "
    text += ", ".join(f"{key} {parts[key]:.2f}" for key in order if parts[key] >= 0.005)
    text += f"; in all {parts['wall']:.2f}, without decoding and scoring "
    text += f"**{parts['overhead']:.2f}**.\n\n"
    runs = found["parallel"]
    kinds = [key for key in runs["sequential"]["counts"] if "computed" in key]
    names = [key.rpartition("computed_")[2] for key in kinds]
    head = ["16 cells from nothing, 300 / 64 images", "seconds", "numbers", *names]
    rows = [
        [name, f"{run['seconds']:.0f}", "equal to the byte" if run["equal"] else "differ",
         *(run["counts"].get(kind, 0) for kind in kinds)]
        for name, run in runs.items()
    ]  # fmt: skip
    text += table(head, rows, ["---", "---:", "---"] + ["---:"] * len(kinds))
    text += (
        "\nColumns count how often shared work was done, over all cells. One thread a process.\n\n"
    )
    forms = {"seconds": ".1f", "mib": ".0f", "page_mib": ".1f"}
    rows = [
        [name, *(format(x[key], form) if key in x else "" for key, form in forms.items())]
        for name, x in found["scale"].items()
    ]  # fmt: skip
    head = ["10,000 finished cells", "seconds", "MiB of memory", "MiB of page"]
    text += table(head, rows, ["---", "---:", "---:", "---:"])
    text += "\nsquare: 100 x 100 models; seeds: 25 x 25 models by 16 seeds.\n"
    replace(ROOT / "docs" / "SWEEPS.md", "sweeps", text)


def preflight(file):
    """Seconds of the check before the first cell."""
    rows = [
        [f"{cells:,}", models, f"{first:.1f}", f"{later:.1f}"]
        for cells, models, first, later in json.loads(file.read_text())
    ]
    head = ["cells", "distinct models", "seconds, first", "seconds, median of the next three"]
    replace(ROOT / "docs" / "SWEEPS.md", "preflight", table(head, rows, ["---:"] * 4))


def limits(file):
    """Coverage of the intervals of limits."""
    found = json.loads(file.read_text())["rows"]
    rows = [
        [row["case"], row["sizes"], f"{row['coverage']:.2f}", f"{row['width over change']:.2f}",
         f"{row['open']:.2f}"]
        for row in found
    ]  # fmt: skip
    head = ["source", "sizes", "coverage of 95 %", "width over measured change", "share with `?`"]
    text = table(head, rows, ["---"] + ["---:"] * 4)
    text += f"\n{found[0]['simulations']} simulations each, {found[0]['n']} test items; medians.\n"
    replace(ROOT / "docs" / "MAPS.md", "limits", text)


if __name__ == "__main__":
    {
        "grid": grid,
        "zoo": zoo,
        "bench": bench,
        "measures": measures,
        "protocols": protocols,
        "coverage": coverage,
        "sweeps": sweeps,
        "preflight": preflight,
        "limits": limits,
    }[sys.argv[1]](*map(Path, sys.argv[2:]))

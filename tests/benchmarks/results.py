"""Write docs/RESULTS.md from the numbers of sweeps, by one command and no hand.

python tests/benchmarks/results.py extract SWEEP... --out docs/results/NAME.json [--before e51fa3c]
    # values and intervals of a grid or a sweep over data.n_train, its claims and its price; the
    # verdicts under the rules of an earlier version beside them
python tests/benchmarks/results.py write
    # docs/RESULTS.md, from all docs/results/*.json

Sentences with numbers are templates, filled by the rules in this file.
"""

import argparse
import json
import math
import re
import textwrap
from pathlib import Path

from stitching.claims.evidence import read_evidence
from stitching.claims.files import as_json, assess
from stitching.records.plan import read_sweep
from stitching.results import learning
from stitching.results.cell import BASELINES
from stitching.results.configs import swept_setting
from stitching.results.formats import markdown_table, with_interval
from stitching.results.grid import grid_of, read_grid
from stitching.results.measures import measure_of
from stitching.results.variants import split

ROOT = Path(__file__).parents[2]
PLACE, OUT = ROOT / "docs" / "results", ROOT / "docs" / "RESULTS.md"

#: Measures by key: title, and how a number above 0 reads in a sentence, where that has a meaning.
_PCA = "leading components of pixels, as many as the source is wide"
SHOWN = {
    "latent/r2": ("Latent R2", ""),
    "latent/r2_beyond_pixels": (
        "Beyond pixels: share of what the best linear map from pixels leaves of the target",
        "explain a part of the target that no linear map from pixels does",
    ),
    "image/rmse": ("RMSE of images", ""),
    "image/rmse_gain": ("RMSE gained over pixels", "have a lower RMSE than the map from pixels"),
    "image/lpips_gain": ("LPIPS gained over pixels", "have a lower LPIPS than that map"),
    "image/rmse_gain_pca": (f"RMSE gained over {_PCA}", "have a lower RMSE than these components"),
    "image/lpips_gain_pca": (f"LPIPS gained over {_PCA}", "have a lower LPIPS than these"),
    "probe/kappa": ("Kappa of probes", ""),
    "probe/kappa_ceiling": ("Kappa of two probes of one model: the ceiling", ""),
    "probe/kappa_relative": ("Kappa over its ceiling", ""),
}


#: What the reader of a record must know beside its numbers.
NOTES = {
    "ceilings": "`vqvae-2` is `vqvae` from another seed, by the same recipe and with as many "
    "images: what two trainings of one family share is a ceiling for pairs of different ones.",
    "photographs": "`taef2` and `taesana` are public tiny autoencoders (of the latter the encoder "
    "alone) of the latent spaces of FLUX.2 and SANA, given as a user's own models; they are not "
    "part of this project. On two cores 64 x 64 was out of reach with all six views of pixels.",
}


def number(value):
    """A number with five digits; None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def measured(quantity_or_cell, key=None):
    """[value, low, high] of a quantity, or of a measure of a cell; None without a value."""
    if key is None:
        value, ends = quantity_or_cell.value, quantity_or_cell.interval()
    else:
        value, ends = quantity_or_cell.number(key), quantity_or_cell.interval(key)
    return None if value is None else [number(x) for x in (value, *(ends or (None, None)))]


def extract(folders, version=""):
    """All that docs/RESULTS.md needs of some sweeps, as one record.

    `version`, of git, gives verdicts under earlier rules.
    """
    grids = [read_grid(folder) for folder in folders]
    parts = [part for grid in grids for part in of_sweep(grid)]
    if not parts:
        raise SystemExit("no grid in these folders")
    record = {"parts": parts, "claims": claims_of(folders), "before": {}}
    if version:
        from claims import before  # beside this file

        for evidence in read_evidence(folders):
            for id_, verdict in before(version, evidence).items():
                record["before"].setdefault(id_, []).append(verdict)
    return record


def of_sweep(grid):
    """One record for each protocol and seed."""
    plan = read_sweep(grid.folder)
    for variant, cells in split(grid.read)[0].items():
        part = grid_of(grid.folder, cells)
        setting = swept_setting(part.done) if len(part.done) > len(part.cells) else None
        curves = []
        if setting is not None and setting[0] == learning.SETTING:
            curves = [plain(curve) for curve in learning.learning_curves(part.done)]
        elif len(part.done) > len(part.cells):
            raise SystemExit(f"{grid.folder} sweeps more than models: extract one setting each")
        first = part.done[0]
        yield {
            "label": variant.label if variant.seeds else "",
            "command": command(plan) if plan else "",
            "date": plan.started[:10] if plan else "",
            "data": str(first.values.get("data")),
            "image_size": first.config.get("data", {}).get("image_size"),
            "protocol": first.protocol,
            "map": next((x.values.get("map") for x in part.done if not x.diagonal), "identity"),
            "n_train": sorted({int(x.number("n_train")) for x in part.done}),
            "n_test": sorted({int(x.number("n_test")) for x in part.done}),
            "cells": len(part.done),
            "failed": sum(cell.state != "done" for cell in part.read),
            "seconds": round(sum(x.number("time/total_s") or 0 for x in part.done)),
            "encoders": part.encoders,
            "decoders": part.decoders,
            "controls": [x for x in part.encoders if part.kinds[x] in BASELINES],
            "own": ["-to-".join(pair) for pair in part.cells if pair in part.own],
            "same_weights": ["-to-".join(x.pair) for x in part.cells.values() if x.same_weights],
            "flat": ["-to-".join(x.pair) for x in part.cells.values() if x.values.get("map/flat")],
            "measures": {} if curves else measures_of(part),
            "curves": curves,
        }


def measures_of(grid):
    found = {}
    for key in SHOWN:
        cells = {"-to-".join(x.pair): measured(x, key) for x in grid.cells.values()}
        cells = {name: values for name, values in cells.items() if values is not None}
        if cells:
            found[key] = cells
    return found


def plain(curve):
    end = curve.end
    return {
        "encoder": curve.encoder,
        "decoder": curve.decoder,
        "control": curve.control,
        "key": curve.key,
        "sizes": list(curve.sizes),
        "values": [measured(value) for value in curve.values],
        "limit": measured(end.limit),
        "exponent": number(end.exponent),
        "exponents": [number(x) for x in end.exponents or ()],
        "flags": list(end.flags),
        "reason": end.reason,
    }


def command(plan):
    """The command line without folders of the machine it ran on."""
    left_out = ("hydra.", "cache=", "tracker", "device=")
    kept = [x for x in plan.overrides if not x.startswith(left_out)]
    words = [] if any(x.startswith("experiment=") for x in kept) else ["-m"]
    words += ["--config-dir", "MY_CONF"] if "--config-dir" in plan.command else []
    return " ".join(["python launch.py", *words, *(re.sub(r"=[/~].*", "=DIR", x) for x in kept)])


def claims_of(folders):
    """Verdicts and reasons by claim; empty where a sweep goes over more than models."""
    try:
        evidence = list(read_evidence(folders))
    except ValueError:
        return {}
    found = json.loads(as_json(assess(evidence)))["claims"]
    keys = ("verdict", "reason")
    return {
        claim["id"]: {
            "text": claim["text"],
            "answers": [{key: one[key] for key in keys} for one in claim["answers"]],
        }
        for claim in found
    }


def write(place=PLACE):
    """The text of docs/RESULTS.md."""
    records = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(place.glob("*.json"))
    }
    lines = [
        "# Results", "",
        "Written by `python tests/benchmarks/results.py write` from `docs/results/*.json`, which",
        "`results.py extract` takes from the folders of sweeps. In brackets: 95 % intervals. Rows",
        "in italics are controls. Times are the sum over cells, each as its files have it.",
        "[MEASURES.md](MEASURES.md) defines measures, [MAPS.md](MAPS.md#learning-curves) limits.",
        "With fewer images than pixel values the best linear map from pixels is an estimate:",
        "compare what lies beyond pixels with the rows of controls, linear in the pixels.",
        "How often intervals contain the truth: [MEASURES.md](MEASURES.md#coverage).",
    ]  # fmt: skip
    for name, record in records.items():
        lines += ["", f"## {name}"]
        lines += ["", *textwrap.wrap(NOTES[name], 99)] if name in NOTES else []
        for part in record["parts"]:
            lines += part_lines(part)
    lines += claim_lines(records)
    return "\n".join(lines) + "\n"


def part_lines(part):
    lines = ["", *(["### " + part["label"], ""] if part["label"] else []), f"{facts(part)}."]
    lines += ["", "```", part["command"], "```"] if part["command"] else []
    found = sentences(part)
    lines += ["", *(f"- {text}" for text in found)] if found else []
    for key, cells in part["measures"].items():
        lines += ["", f"**{SHOWN[key][0]}** (`{key}`)", "", *grid_table(part, key, cells)]
    for key in dict.fromkeys(curve["key"] for curve in part["curves"]):
        lines += ["", f"**{measure_of(key).label}** (`{key}`)", "", *curve_table(part, key)]
    flags = [flag for curve in part["curves"] for flag in curve["flags"]]
    signs = [f"{learning.SIGNS[x]} : {learning.FLAGS[x]}" for x in learning.FLAGS if x in flags]
    return [*lines, "", *(f"- {sign}" for sign in signs)] if signs else lines


def facts(part):
    size = f", {part['image_size']} x {part['image_size']}" if part["image_size"] else ""
    failed = f", {part['failed']} failed or missing" if part["failed"] else ""
    minutes, seconds = divmod(part["seconds"], 60)
    n_train, n_test = (", ".join(f"{n:,}" for n in part[key]) for key in ("n_train", "n_test"))
    date = f"{part['date']}: " if part["date"] else ""
    return (
        f"{date}{part['data']}{size}, {n_train} images to fit, {n_test} to test, map "
        f"{part['map']}, protocol {part['protocol'] or 'unnamed'}; {part['cells']} cells{failed} "
        f"in {minutes} min {seconds} s"
    )


def foreign(part, cells):
    """Pairs of different trained models; two trainings of one model are no such pair."""
    left_out = {*part["own"], *part["same_weights"], *(name for name in cells if twins(name))}
    return {
        name: values
        for name, values in cells.items()
        if name not in left_out and name.partition("-to-")[0] not in part["controls"]
    }


def twins(pair):
    """Whether a pair is of one model and its second training, such as vae and vae-2."""
    encoder, _, decoder = pair.partition("-to-")
    return f"{encoder}-2" == decoder or encoder == f"{decoder}-2"


def sentences(part):
    """What the numbers of a grid say, by rules."""
    found = []
    for key, (_, phrase) in SHOWN.items():
        pairs = foreign(part, part["measures"].get(key, {})) if phrase else {}
        if not pairs:
            continue
        above = [x for x in pairs.values() if x[1] is not None and x[1] > 0]
        below = [x for x in pairs.values() if x[2] is not None and x[2] < 0]
        best = max(pairs, key=lambda name: pairs[name][0])
        found.append(
            f"{len(above)} of {len(pairs)} pairs {phrase}; {len(below)} are below 0, "
            f"{len(pairs) - len(above) - len(below)} are not resolved. "
            f"The largest is {text(key, pairs[best])}, {best.replace('-to-', ' to ')}."
        )
    for name, values in part["measures"].get("latent/r2", {}).items():
        if twins(name):
            more = part["measures"].get("latent/r2_beyond_pixels", {}).get(name)
            beyond = f", beyond pixels {text('latent/r2_beyond_pixels', more)}" if more else ""
            pair = name.replace("-to-", " to ")
            r2 = text("latent/r2", values)
            found.append(f"Two trainings of one model, {pair}: R2 {r2}{beyond}.")
    if part["flat"]:
        found.append(
            f"The penalty is flat (two minima that give different maps) in {len(part['flat'])} of "
            f"{part['cells']} cells: {', '.join(part['flat'])}."
        )
    return found


def text(key, values):
    """A number and its interval."""
    if values is None:
        return ""
    ends = None if values[1] is None or values[2] is None else (values[1], values[2])
    return " ".join(with_interval(values[0], ends, measure_of(key))).rstrip()


def grid_table(part, key, cells):
    order = sorted(part["encoders"], key=lambda name: name not in part["controls"])
    rows = [
        [shown_name(part, e), *(text(key, cells.get(f"{e}-to-{d}")) for d in part["decoders"])]
        for e in order
        if any(f"{e}-to-{d}" in cells for d in part["decoders"])
    ]
    return markdown_table(["from \\ to", *part["decoders"]], rows)


def shown_name(part, name):
    return f"*{name}*" if name in part["controls"] else name


def curve_table(part, key):
    curves = [curve for curve in part["curves"] if curve["key"] == key]
    decoders = [*dict.fromkeys(curve["decoder"] for curve in curves)]
    curves.sort(key=lambda x: (decoders.index(x["decoder"]), not x["control"]))
    rows = []
    for one in curves:
        signs = "".join(learning.SIGNS[flag] for flag in one["flags"]) or one["reason"]
        low, high = one["exponents"] or ("", "")
        exponent = f"{one['exponent']:.2f} [{low:.2f}, {high:.2f}]" if one["exponents"] else ""
        ends = [
            text(key, values) for values in (one["values"][0], one["values"][-1], one["limit"])
        ]
        sizes = f"{one['sizes'][0]:,} to {one['sizes'][-1]:,}"
        rows.append(
            [one["decoder"], shown_name(part, one["encoder"]), sizes, *ends, exponent, signs]
        )
    head = ["to", "from", "fit images", "first", "last", "N → ∞", "p", ""]
    return markdown_table(head, rows, left=3)


def claim_lines(records):
    """Verdicts of all sweeps side by side, those of earlier rules before those of today."""
    texts = {id_: x["text"] for one in records.values() for id_, x in one["claims"].items()}
    columns = {}
    for name, record in records.items():
        if record["before"]:
            columns[f"{name}, earlier rules"] = record["before"]
        if record["claims"]:
            columns[name] = {
                id_: [answer["verdict"] for answer in claim["answers"]]
                for id_, claim in record["claims"].items()
            }
    # A sweep that no claim is about says nothing here.
    columns = {k: x for k, x in columns.items() if any({*v} != {"not run"} for v in x.values())}
    if not columns:
        return []
    rows = [
        [id_, texts[id_], *(", ".join(dict.fromkeys(x.get(id_, "-"))) for x in columns.values())]
        for id_ in sorted(texts)
    ]
    lines = [
        "",
        "## Claims",
        "",
        *markdown_table(["", "claim", *columns], rows, left=2 + len(columns)),
    ]
    for name, record in records.items():
        reasons = [
            f"- {id_}, {answer['verdict']}: {answer['reason']}."
            for id_, one in record["claims"].items()
            for answer in one["answers"]
            if answer["verdict"] != "not run"
        ]
        lines += ["", f"Reasons, {name}:", "", *reasons] if reasons else []
    return lines


def save(record, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    # Lists of numbers and words on one line each: the file of a sweep stays readable.
    lines = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), lines)
    path.write_text(lines + "\n", encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("extract")
    one.add_argument("folders", nargs="+", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--before", default="", metavar="VERSION", help="of git, for earlier rules")
    one = actions.add_parser("write")
    one.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    if options.action == "extract":
        save(extract(options.folders, options.before), options.out)
    else:
        options.out.write_text(write(), encoding="utf-8")


if __name__ == "__main__":
    main()

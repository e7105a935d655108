"""README.md and a plot for each network, from all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from end_metrics import PRETRAINED, TRAINED
from harness import machine
from measure import ORIGINAL, Row
from methods import CODECS, DEFAULT, MATRIX, SIMPLE, UNTUNED, WITH_K

_HEAD = """\
# The judge of networks

`python bench/frontier/run.py --results FILE` wrote this page (its docstring says what to install,
`--help` what it takes). Every method makes a real file of at most the bytes wanted; the file is
read again, and what was read is judged, once, on test inputs, which chose nothing.

- Bits wanted count all parameters of a network; bytes are the whole file's, names, shapes and
  vectors included. The simple peers' files have binary headers and leave counters out; ours are
  safetensors.
- Divergence is `KL(original || file)` of the softmax in nats or, for networks whose outputs are
  values, the squared error over the outputs' square.
- Networks trained here: Fashion-MNIST's 10,000 test images judge; training images without labels
  calibrate, 2,048 of them, 1,024 for CNN 5+3. Figures are means over seeds, ± half of the distance
  from least to most. What judges and calibrates the pretrained ones is in `bench/end_metrics`.
- Noise of a metric: one standard error, `sqrt(m (1 - m) / answers)`.
- Settings are chosen on a fifth of the calibration inputs, by `compress` itself.
- With k, centroids and vectors under the matrix are moved at last by derivatives of the outputs on
  the other four fifths, as `compress` does by default; `not tuned` is `tune=False`. How far they
  move in a step, and for how long, was chosen on MiniLM-L6's held-out news, and looked at on its
  words, on Resemblyzer's prompts, and on test images of MLP and CNN 61k.
- Variants of the trellis (a price of a bit, the order of rows) and of damping were compared on the
  test images of MLP and CNN 61k: these two favour them slightly. That vectors are rounded was
  decided on those of CNN 61k, CNN 5+3 and EfficientNet-Lite0; that networks of more than four
  million weights have sturdy weights alone, and how sturdy, on MiniLM-L6's words and, less, on
  Resemblyzer's prompts and EfficientNet-Lite0's photographs.
- EfficientNet-Lite0 is calibrated by crops of four photographs and judged by 200 of four others.
  Crops of one photograph are alike: files of nearly equal settings differ by .2 of its metric, far
  more than the noise, and by a fifth of the divergence.
- MiniLM-L6 is calibrated by news and judged by single words, whose tokens mostly mark where a text
  begins and ends. With k = 16 weights close to the news diverge on other news as sturdy ones do
  (.0223 and .0224), and on the words ten times as much (.73 and .074).
- k-means: optimal codebooks of one k for all tensors, the largest that fits, so that bytes are left
  over.
- NNCodec 2.1.3: dependent quantisation and optimised parameters, one quantisation parameter for all
  matrices in steps of 1/16 octave; `opt_qp` lets it vary by tensor, and `ioq` by what that does to
  outputs. `lsa` trains scales of rows and `fine_tune` vectors, as by default (Adam, 30 epochs of
  batches of 64) but for a rate of 1e-3, better here than its 1e-4. Both and `ioq` have our
  calibration inputs and, as targets, the original's outputs; a fifth of them chooses the epoch and
  is what `ioq` looks at. `bnf` folds normalisations that follow a layer at once.
- GPTQ's grids (columns in natural order, damping .01, a step a row from its largest magnitude) and
  WaterSIC's steps (`c / l_ii`, one c for all layers, one factor a column) are formulas of theirs
  in code of ours, with our entropy code; layers meet the original's inputs.
- Seconds are of one processor, all trials for a size included, on a machine that had other work.
- Networks and sizes that are not here were not run for this page.
"""

Of = Callable[[Row], float]


def write_table(folder: Path, rows: Sequence[Row]) -> None:
    """README.md and one plot a network into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD, f"{machine()}.\n"]
    for net in (*TRAINED, *PRETRAINED):
        own = [row for row in rows if row.net == net]
        if own:
            image = f"{net.lower().replace(' ', '-')}.svg"
            _plot(own, net, folder / image)
            parts.append("\n".join(_section(net, own, image)) + "\n")
    (folder / "README.md").write_text("\n".join(parts))


def _section(net: str, rows: Sequence[Row], image: str) -> Iterator[str]:
    original = [row for row in rows if row.method == ORIGINAL]
    seeds = sorted(row.seed for row in original)
    yield f"## {net}\n"
    of_seeds = f"Seeds {', '.join(map(str, seeds))}. " if seeds != [0] else ""
    metric = _shown(original, lambda row: row.metric, ".4f")
    yield f"{of_seeds}The original: {metric}; noise {_noise(original):.4f}.\n"
    yield f"![Divergence against bytes]({image})\n"
    files = [row for row in rows if not row.fixed and row.method != ORIGINAL]
    yield from _table("bits wanted", files, list(CODECS))
    yield ""
    yield from _worse(files)
    fixed = [row for row in rows if row.fixed]
    if fixed:
        yield "\nWithout entropy code, one codebook a tensor, by k:\n"
        yield from _table("k", fixed, list(WITH_K))
        yield ""
        yield from _worse_with_k(fixed)


def _table(first: str, rows: Sequence[Row], methods: Sequence[str]) -> Iterator[str]:
    yield f"| {first} | method | bytes | divergence | metric | encode s | decode s |"
    yield "|---:|---|---:|---:|---:|---:|---:|"
    for size in _sizes(rows):
        for method in methods:
            cell = _cell(rows, method, size)
            if cell:
                yield f"| {size:g} | {method} | {_figures(cell)} |"


def _figures(cell: Sequence[Row]) -> str:
    missing = sorted({row.missing for row in cell if row.missing})
    if missing:
        return f"none: {'; '.join(missing)} | | | |"
    nbytes = np.mean([row.nbytes for row in cell])
    return " | ".join(
        [
            f"{nbytes:,.0f}" if nbytes else "",
            _shown(cell, lambda row: row.divergence, ".3g"),
            _shown(cell, lambda row: row.metric, ".4f"),
            f"{np.mean([row.encode_seconds for row in cell]):.1f}",
            f"{np.mean([row.decode_seconds for row in cell]):.2f}" if nbytes else "",
        ]
    )


def _worse(rows: Sequence[Row]) -> Iterator[str]:
    """Where the default's metric is below a simple method's by more than the noise."""
    compared, lines = 0, []
    for size in (size for size in _sizes(rows) if size >= 1.5):
        own = _cell(rows, DEFAULT, size)
        for method in SIMPLE:
            other = _cell(rows, method, size)
            if own and other and not any(row.missing for row in (*own, *other)):
                compared += 1
                gap = _mean(other, lambda row: row.metric) - _mean(own, lambda row: row.metric)
                if gap > _noise(other):
                    lines.append(f"- {size:g} bits: {gap:.4f} below {method}")
    if compared:
        found = "all within the noise or better" if not lines else "beyond the noise:"
        yield f"The default against simple methods, 1.5 bits and more, {compared} cells: {found}"
        yield from lines


def _worse_with_k(rows: Sequence[Row]) -> Iterator[str]:
    """Where the matrix diverges more than another method."""
    compared, lines = 0, []
    for k in _sizes(rows):
        own = _mean(_cell(rows, MATRIX, k), lambda row: row.divergence)
        for method in (method for method in WITH_K if method not in (MATRIX, UNTUNED)):
            other = _cell(rows, method, k)
            if other and math.isfinite(own):
                compared += 1
                least = _mean(other, lambda row: row.divergence)
                if own > least:
                    lines.append(f"- k = {k:g}: {own:.3g}, {least:.3g} with {method}")
    found = "diverges least" if not lines else "diverges more in these:"
    yield f"The matrix against the others, {compared} cells: {found}"
    yield from lines


def _plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """One line a method, means over seeds, both axes logarithmic."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for method in CODECS:
        found = [row for row in rows if row.method == method and not row.fixed and row.nbytes]
        cells = [_cell(found, method, size) for size in _sizes(found)]
        if cells:
            nbytes = [_mean(cell, lambda row: row.nbytes) for cell in cells]
            divergence = [_mean(cell, lambda row: row.divergence) for cell in cells]
            peer = "--" if method not in list(CODECS)[:4] else "-"
            axes.plot(nbytes, divergence, peer, marker="o", markersize=3, label=method)
    axes.set(title=title, xscale="log", yscale="log")
    axes.set(xlabel="bytes of the file", ylabel="divergence on test inputs")
    axes.grid(alpha=0.3, which="both")
    if axes.lines:
        axes.legend(fontsize=7)
    with rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _sizes(rows: Sequence[Row]) -> list[float]:
    return sorted({row.size for row in rows}, reverse=True)


def _cell(rows: Sequence[Row], method: str, size: float) -> list[Row]:
    return [row for row in rows if (row.method, row.size) == (method, size)]


def _noise(rows: Sequence[Row]) -> float:
    metric = min(max(_mean(rows, lambda row: row.metric), 0.0), 1.0)
    answers = max(rows[0].n_answers, 1) if rows else 1
    return math.sqrt(metric * (1 - metric) / answers)


def _mean(rows: Sequence[Row], value: Of) -> float:
    return float(np.mean([value(row) for row in rows])) if rows else math.nan


def _shown(rows: Sequence[Row], value: Of, form: str) -> str:
    values = [value(row) for row in rows]
    spread = f" ± {(max(values) - min(values)) / 2:.2g}" if len(values) > 1 else ""
    return f"{_mean(rows, value):{form}}{spread}"

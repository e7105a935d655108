"""The results as one table: a block for each setting, a column for each objective."""

from __future__ import annotations

from rich import box
from rich.table import Table

from wkmeans.demo._experiment import Pruned, Quantised, Setting
from wkmeans.demo._results import Results


def render(results: Results) -> Table:
    """A rich table of test cross-entropy, test accuracy and compression ratio, means over seeds."""
    original = results.original
    n_seeds = len(results.outcomes)
    table = Table(
        title=f"{results.data}, {results.architecture}, "
        f"{'mean of ' if n_seeds > 1 else ''}{n_seeds} seed{'s' if n_seeds > 1 else ''}\n"
        f"uncompressed: cross-entropy {original.cross_entropy:.3f}, "
        f"accuracy {original.accuracy:.1%} (test)\n",
        caption="Bold: the lowest cross-entropy. Ratio: the paper's r over all weight tensors, "
        "codebooks included; weights over weights kept for pruning. Biases stay dense.",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    for objective in results.objectives:
        table.add_column(objective.replace("+", "\n+"), justify="right", no_wrap=True)
    for setting in [*results.settings(Quantised), *results.settings(Pruned)]:
        _add_block(table, results, setting)
    return table


def _add_block(table: Table, results: Results, setting: Setting) -> None:
    objectives = results.objectives
    cross_entropies = [f"{results.cross_entropy(o, setting):.3f}" for o in objectives]
    lowest = min(cross_entropies, key=float)
    bold = [f"[bold]{c}[/bold]" if c == lowest else c for c in cross_entropies]
    accuracies = [f"{results.accuracy(o, setting):.1%}" for o in objectives]
    ratios = [f"{results.ratio(o, setting):.1f}x" for o in objectives]
    table.add_row(str(setting), "cross-entropy", *bold)
    table.add_row("", "accuracy", *accuracies)
    table.add_row("", "ratio", *ratios, end_section=True)

"""The command `wkmeans`. Each subcommand is one function from its arguments to an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wkmeans import __version__
from wkmeans.cli.commands import add_commands
from wkmeans.cli.process import (
    Stopped,
    discard_stdout,
    open_closed_streams,
    signals_as_exceptions,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand: 0 done, 1 failed with one line on stderr, 2 wrong usage.

    Stopped by a signal it cleans up and answers 128 and the signal's number, 130 for Ctrl-C.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.
    """
    open_closed_streams()
    arguments = _parser().parse_args(argv)
    try:
        with signals_as_exceptions():
            code: int = arguments.run(arguments)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever read what is printed has seen enough
        discard_stdout()
        return 1
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"wkmeans: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Stopped as stopped:
        return stopped.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wkmeans", description="Importance-weighted codebooks and pruning for networks."
    )
    parser.add_argument("--version", action="version", version=f"wkmeans {__version__}")
    subcommands = parser.add_subparsers(metavar="command", required=True)
    _add_demo(subcommands)
    add_commands(subcommands)
    return parser


def _add_demo(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = subcommands.add_parser(
        "demo",
        help="train a small network and compress it under every objective",
        description="Train a small network on real data, estimate its importances, quantise and "
        "prune it under every objective, and print what each one costs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.set_defaults(run=_demo)
    suppressed = argparse.SUPPRESS
    demo.add_argument(
        "--data", choices=("digits", "fashion-mnist"), default="digits", help="what to learn"
    )
    demo.add_argument(
        "--data-dir",
        type=Path,
        default=suppressed,
        help="directory of Fashion-MNIST's four .gz files, where no package installed them",
    )
    demo.add_argument("--output", type=Path, default="wkmeans-demo.png", help="where to plot")
    demo.add_argument(
        "--seeds", type=int, default=suppressed, metavar="N", help="how many networks to train"
    )
    demo.add_argument("--seed", type=int, default=0, help="seed of the first network")
    demo.add_argument(
        "--k", type=int, nargs="*", default=suppressed, help="codebook sizes (2 3 4 8 16)"
    )
    demo.add_argument(
        "--densities", type=float, nargs="*", default=suppressed, help="shares of weights to keep"
    )
    demo.add_argument(
        "--objectives", nargs="+", default=suppressed, metavar="NAME", help="which (all)"
    )
    demo.add_argument(
        "--hidden", type=int, nargs="*", default=suppressed, help="widths of the hidden layers"
    )
    demo.add_argument(
        "--temperature", type=float, default=suppressed, help="fixed, not chosen by validation"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from wkmeans import demo  # imports torch, which no other subcommand should wait for

    given = vars(arguments)
    plan = demo.PLANS[arguments.data]
    seeds = range(arguments.seed, arguments.seed + given.get("seeds", len(plan.seeds)))
    changes: dict[str, Any] = {
        field: tuple(given[option])
        for option, field in (("k", "ks"), ("densities", "densities"), ("objectives", "objectives"))
        if option in given
    }
    if "temperature" in given:
        changes["temperatures"] = (arguments.temperature,)
    if "hidden" in given:
        changes["widths"] = (plan.widths[0], *arguments.hidden, plan.widths[-1])
    plan = replace(plan, seeds=tuple(seeds), **changes)

    from rich.console import Console

    data_dir = given.get("data_dir")
    if data_dir is not None and arguments.data != "fashion-mnist":
        raise ValueError("--data-dir belongs to --data fashion-mnist: the digits come bundled")
    demo.run(arguments.data, plan, output=arguments.output, console=Console(), data_dir=data_dir)
    return 0

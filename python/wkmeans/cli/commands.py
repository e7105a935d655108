"""The subcommands compress, decompress and inspect."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wkmeans._files.output import check_output
from wkmeans.compression._compress import compress
from wkmeans.compression._model import CompressedModel, load
from wkmeans.compression._work import Progress
from wkmeans.compression.format.shards import files_at
from wkmeans.compression.source.files import input_files

Subcommands = Any  # argparse does not export its type


def add_commands(subcommands: Subcommands) -> None:
    _add_compress(subcommands)
    _add_decompress(subcommands)
    _add_inspect(subcommands)


def _add_compress(subcommands: Subcommands) -> None:
    parser = subcommands.add_parser(
        "compress",
        help="compress safetensors files to labels and codebooks",
        description="Compress a model to labels and codebooks, one tensor in memory at a time.",
    )
    parser.set_defaults(run=_compress)
    parser.add_argument(
        "model",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="safetensors files, a directory of them, or the .index.json of a sharded checkpoint",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="the file to write, with --calibration the folder",
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--bits", type=int, metavar="B", help="2**B centroids for each codebook")
    size.add_argument("--k", type=int, metavar="K", help="centroids for each codebook")
    size.add_argument("--target-bytes", type=int, metavar="N", help="size of the file")
    size.add_argument(
        "--target-bits-per-weight", type=float, metavar="B", help="the same, for each weight"
    )
    parser.add_argument(
        "--importances", type=Path, help="what wkmeans.importance's Importances.save wrote"
    )
    parser.add_argument("--density", type=float, help="share of the weights to keep")
    parser.add_argument(
        "--granularity",
        type=_granularity,
        default="tensor",
        help="tensor, channel, or weights in a group (default: tensor)",
    )
    parser.add_argument("--solver", choices=("optimal", "entropy-constrained"))
    parser.add_argument("--channel-scales", action="store_true", help="one scale a channel")
    parser.add_argument("--codebook-dtype", metavar="DTYPE", help="float16, int8, ...")
    parser.add_argument("--dense-dtype", metavar="DTYPE", help="of what stays dense")
    parser.add_argument("--coding", choices=("auto", "packed", "ans"), default="auto")
    parser.add_argument("--include", nargs="+", metavar="PATTERN", help="compress only these")
    parser.add_argument("--exclude", nargs="+", metavar="PATTERN", help="leave these dense")
    parser.add_argument("--threads", type=int, metavar="N")
    _add_calibration(parser)
    _add_json(parser)


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "calibration",
        "For the folder of a Hugging Face model that reads text: what is written is a folder that "
        "transformers loads.",
    )
    group.add_argument(
        "--calibration", nargs="+", type=Path, metavar="TEXT", help="texts in UTF-8, to be good at"
    )
    group.add_argument(
        "--calibration-sequences",
        type=int,
        default=64,
        metavar="N",
        help="how many sequences of tokens to take, a fifth of which judges (default: 64)",
    )
    group.add_argument(
        "--sequence-length",
        type=int,
        metavar="N",
        help="tokens in each (default: 256, or what model and texts have)",
    )
    group.add_argument(
        "--block-by-block",
        action="store_true",
        help="one block in memory at a time, as large models go; goes on where it was stopped",
    )
    group.add_argument("--seed", type=int, default=0, help="of the choice among them (default: 0)")


def _add_decompress(subcommands: Subcommands) -> None:
    says = "Write a compressed model as a plain safetensors file."
    parser = _reader(subcommands, "decompress", says)
    parser.set_defaults(run=_decompress)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write")


def _add_inspect(subcommands: Subcommands) -> None:
    says = "Check a compressed model and print the sizes and costs of its tensors."
    parser = _reader(subcommands, "inspect", says)
    parser.set_defaults(run=_inspect)
    _add_json(parser)


def _reader(subcommands: Subcommands, name: str, says: str) -> argparse.ArgumentParser:
    """The parser of a subcommand that reads a compressed model."""
    parser: argparse.ArgumentParser = subcommands.add_parser(
        name, help=says[0].lower() + says[1:-1], description=says
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a compressed model, or its folder"
    )
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _granularity(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _compress(arguments: argparse.Namespace) -> int:
    if arguments.calibration is not None:
        return _compress_folder(arguments)
    check_output(arguments.output, _inputs(arguments), "--output")
    with _progress_bar() as progress:
        model = compress(arguments.model, progress=progress, **_options(arguments))
    model.save(arguments.output)
    _print_report(model, arguments.json)
    return 0


def _compress_folder(arguments: argparse.Namespace) -> int:
    if len(arguments.model) > 1:
        raise ValueError(
            f"MODEL: expected one folder with --calibration, got {len(arguments.model)}"
        )
    from wkmeans.transformers._command import compress_folder
    from wkmeans.transformers._texts import Sequences

    wanted = Sequences(arguments.calibration_sequences, arguments.sequence_length, arguments.seed)
    with _progress_bar() as progress:
        model = compress_folder(
            arguments.model[0],
            arguments.calibration,
            arguments.output,
            wanted,
            by_block=arguments.block_by_block,
            progress=progress,
            **_options(arguments),
        )
    _print_report(model, arguments.json)
    return 0


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `compress` takes under the same names."""
    return {
        "importances": _importances(arguments.importances),
        "bits": arguments.bits,
        "k": arguments.k,
        "target_bytes": arguments.target_bytes,
        "target_bits_per_weight": arguments.target_bits_per_weight,
        "density": arguments.density,
        "granularity": arguments.granularity,
        "solver": arguments.solver,
        "channel_scales": arguments.channel_scales,
        "codebook_dtype": arguments.codebook_dtype,
        "dense_dtype": arguments.dense_dtype,
        "coding": arguments.coding,
        "include": arguments.include,
        "exclude": arguments.exclude,
        "n_threads": arguments.threads,
    }


def _inputs(arguments: argparse.Namespace) -> list[Path]:
    """The files that the command reads."""
    importances = [arguments.importances] if arguments.importances else []
    return [*input_files(arguments.model), *importances]


def _decompress(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, files_at(arguments.model), "--output")
    load(arguments.model).save_dense(arguments.output)
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    _print_report(load(arguments.model), arguments.json)
    return 0


def _importances(path: Path | None) -> Any:
    if path is None:
        return None
    from wkmeans.importance import Importances

    return Importances.load(path)


def _print_report(model: CompressedModel, as_json: bool) -> None:
    report = model.report()
    if as_json:
        print(report.to_json())
        return
    table = report.table()
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """On stderr, and only where somebody watches."""
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError as error:
        raise ImportError("progress needs rich: pip install 'wkmeans[compress]'") from error
    bar = Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        row = bar.add_task("reading", total=None)
        yield lambda task, done, total: bar.update(
            row, description=task, completed=done, total=total
        )

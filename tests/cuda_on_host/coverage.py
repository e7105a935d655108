"""How many lines of csrc/cuda ran: `coverage.py BUILD LEAST`, from what gcov counted in BUILD.

Prints each file's share and the lines that no test reached; fails below LEAST per cent.
"""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def counted_lines(build: Path) -> dict[str, dict[int, int]]:
    """How often each line ran, by file; a template's line in all its instances together."""
    lines: dict[str, dict[int, int]] = collections.defaultdict(collections.Counter)
    for data in build.rglob("wkmeans_cuda_plain.dir/**/*.gcda"):
        command = ["gcov", "--json-format", "--stdout", str(data)]
        reports = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for report in map(json.loads, reports.splitlines()):
            for file in report["files"]:
                path = (Path(report["current_working_directory"]) / file["file"]).resolve()
                if ROOT / "csrc/cuda" in path.parents:
                    for line in file["lines"]:
                        lines[str(path.relative_to(ROOT))][line["line_number"]] += line["count"]
    return lines


def main() -> int:
    build, least = Path(sys.argv[1]), float(sys.argv[2])
    total = reached = 0
    for path, lines in sorted(counted_lines(build).items()):
        missed = [number for number, count in sorted(lines.items()) if count == 0]
        total += len(lines)
        reached += len(lines) - len(missed)
        percent = 100 * (1 - len(missed) / len(lines))
        note = f"  not: {', '.join(map(str, missed))}" if missed else ""
        print(f"{percent:6.1f} % of {len(lines):4d}  {path}{note}")
    percent = 100 * reached / max(total, 1)
    print(f"{percent:6.1f} % of {total:4d}  lines of csrc/cuda ran, of which {least} are asked for")
    return 0 if percent >= least else 1


if __name__ == "__main__":
    sys.exit(main())

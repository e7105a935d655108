"""Whether the tests on a played device notice faults of the CUDA code: each of these is put in and
must make them fail.

    python tests/cuda_on_host/mutations.py BUILD [NAME...]

BUILD is a folder that CMake configured for Ninja with WKMEANS_CUDA=HOST; it holds both modules.
It stays as it is: a fault is compiled beside it, in the one file that the tests see it through, and
of the tests those run that can see it. What hangs is noticed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = "tests/cuda_on_host/CMakeFiles/wkmeans_cuda_{variant}.dir/__/__/csrc/cuda/{unit}.o"
MODULE = "cuda_on_host/{variant}/_cuda.so"
LEAST_LIMIT = 60.0  # seconds for the tests of a fault
TIMES_AS_LONG = 4.0  # as they take where there is none

# None of Hypothesis's, which would go on to look for the least example.
LARGE = "tests/test_cuda.py::test_large_"
SUMS = (f"{LARGE}problems_are_the_cpus_and_repeat[optimal-16-True-dtype2]",)
SORTS = (f"{LARGE}problems_are_the_cpus_and_repeat[optimal-16-False-dtype2]",)
MASKS = (f"{LARGE}masks_are_the_cpus",)
COUNTS = ("tests/test_cuda_large.py::test_a_count_beyond_a_counters_bits",)
BAD_VALUES = ("tests/test_cuda.py::test_bad_values_are_named_as_on_the_cpu",)
BAD_ROWS = ("tests/test_cuda.py::test_rows_after_bad_ones_are_looked_at_in_turn",)
ROWS = ("tests/test_cuda.py::test_rows_are_the_cpus",)


@dataclass(frozen=True)
class Fault:
    file: str  # below csrc/cuda
    sound: str
    faulty: str
    unit: str  # the file that is compiled
    tests: tuple[str, ...]
    variant: str = "plain"


FAULTS = {
    "no barrier while sums are added up": Fault(
        "device/kernels.cuh",
        "      WKM_BARRIER();\n      add_from",
        "      add_from",
        "cluster.cu",
        SUMS,
    ),
    "no barrier before sums are written again": Fault(
        "device/kernels.cuh",
        "WKM_BARRIER();  // before sums are written again",
        "",
        "cluster.cu",
        SUMS,
    ),
    "an item too many": Fault(
        "device/tiles.h", "if (item < n) sum", "if (item <= n) sum", "cluster.cu", SUMS
    ),
    "no barrier after the counters' carries": Fault(
        "device/kernels.cuh",
        "WKM_BARRIER();  // every carry has been taken",
        "",
        "prune.cu",
        COUNTS,
        "races",
    ),
    "a barrier that some threads skip": Fault(
        "device/kernels.cuh",
        "WKM_BARRIER();  // every carry",
        "if (here.thread < 100) WKM_BARRIER();  //",
        "prune.cu",
        MASKS,
    ),
    "counts that are added plainly": Fault(
        "device/kernels.cuh",
        "if (count > 0) add(&slice_counts[bin], static_cast",
        "if (count > 0) slice_counts[bin] += (static_cast",
        "prune.cu",
        MASKS,
        "races",
    ),
    "counts that begin as they are": Fault(
        "device/device_backend.cuh",
        "check(cudaMemsetAsync(counts.data(), 0, n_bins",
        "if (n == 0) check(cudaMemsetAsync(counts.data(), 0, n_bins",
        "prune.cu",
        MASKS,
    ),
    "less shared memory than is used": Fault(
        "device/device_backend.cuh",
        "const std::size_t shared = words *",
        "const std::size_t shared = words / 2 *",
        "prune.cu",
        MASKS,
    ),
    "a first bad item that is noted plainly": Fault(
        "items/items.h",
        "if (!good_importance) lower(&errors->importance, index);",
        "if (!good_importance && index < errors->importance) errors->importance = index;",
        "prune.cu",
        BAD_VALUES,
        "races",
    ),
    "results that nobody waits for": Fault(
        "device/device_backend.cuh",
        "    wait();\n    return values;",
        "    return values;",
        "prune.cu",
        MASKS,
    ),
    "uploads from memory that is gone": Fault(
        "device/device_backend.cuh", "    uploads_.push_back(held);\n", "", "prune.cu", MASKS
    ),
    "a sort on another stream": Fault(
        "device/device_primitives.cu",
        "first_bit,\n                                          kLastBit, queue.stream",
        "first_bit,\n                                          kLastBit, nullptr",
        "device/device_primitives.cu",
        SORTS,
    ),
    "a sort that is looked for in the wrong buffer": Fault(
        "device/device_primitives.cu",
        "if (buffers.Current() != keys.data())",
        "if (buffers.Current() == keys.data())",
        "device/device_primitives.cu",
        SORTS,
    ),
    "no barrier between phases": Fault(
        "batch/batch.cu",
        "work(static_cast<int>(place().thread));\n    WKM_BARRIER();",
        "work(static_cast<int>(place().thread));",
        "batch/batch.cu",
        ROWS,
    ),
    "phases that run into each other": Fault(
        "batch/solve.h", "team_.phase([](int) {});\n", "", "batch/batch.cu", BAD_ROWS, "races"
    ),
    "blocks that share a workspace": Fault(
        "batch/batch.cu",
        "workspace + at.block * workspace_of_block",
        "workspace + 0 * workspace_of_block",
        "batch/batch.cu",
        ROWS,
        "races",
    ),
}


def run(*command: object, seconds: float = 1800.0, **environment: str) -> bool:
    try:
        subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **environment},
            capture_output=True,
            check=True,
            timeout=seconds,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def pass_with(module: Path, tests: tuple[str, ...], seconds: float) -> bool:
    return run(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
        *(ROOT / test for test in tests),
        seconds=seconds,
        WKMEANS_CUDA_ON_HOST=str(module),
        HYPOTHESIS_PROFILE="sanitized",
    )


class Build:
    """What CMake and Ninja would do, but for one file and elsewhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def module(self, variant: str) -> Path:
        return (self._folder / MODULE.format(variant=variant)).resolve()

    def with_fault(self, fault: Fault, scratch: Path) -> Path:
        source = ROOT / "csrc/cuda" / fault.file
        text = source.read_text()
        if text.count(fault.sound) != 1:
            raise SystemExit(f"{fault.file}: {text.count(fault.sound)} times: {fault.sound}")
        # Found before the sound one, which lies in the next folder that is looked through.
        faulty = scratch / "include/cuda" / fault.file
        faulty.parent.mkdir(parents=True)
        faulty.write_text(text.replace(fault.sound, fault.faulty))
        unit = faulty if fault.unit == fault.file else ROOT / "csrc/cuda" / fault.unit

        sound_object = OBJECTS.format(variant=fault.variant, unit=fault.unit)
        sound_module = MODULE.format(variant=fault.variant)
        own = {sound_object: scratch / "unit.o", sound_module: scratch / "_cuda.so"}
        compile_it = self._command(sound_object, own)
        compile_it[compile_it.index("-c") + 1] = str(unit)
        first = next(i for i, word in enumerate(compile_it) if word.startswith("-I"))
        compile_it.insert(first, f"-I{scratch / 'include'}")
        for command in (compile_it, self._command(sound_module, own)):
            if not run("env", "-C", self._folder, *command):
                raise SystemExit(f"does not build: {fault}")
        return scratch / "_cuda.so"

    def _command(self, target: str, own: dict[str, Path]) -> list[str]:
        lines = subprocess.check_output(
            ["ninja", "-C", self._folder, "-t", "commands", "-s", target], text=True
        )
        line = lines.splitlines()[-1].removeprefix(": && ").removesuffix(" && :")
        for sound, faulty in own.items():
            line = line.replace(sound, str(faulty))
        return shlex.split(line)


def main() -> int:
    build, names = Build(Path(sys.argv[1])), sys.argv[2:] or list(FAULTS)

    @cache
    def limit(variant: str, tests: tuple[str, ...]) -> float:
        """In seconds; the tests must pass before a fault is put in."""
        start = time.monotonic()
        if not pass_with(build.module(variant), tests, 1800.0):
            raise SystemExit(f"fail without a fault ({variant}): {', '.join(tests)}")
        return max(LEAST_LIMIT, TIMES_AS_LONG * (time.monotonic() - start))

    n_missed = 0
    for name in names:
        fault = FAULTS[name]
        seconds = limit(fault.variant, fault.tests)
        with tempfile.TemporaryDirectory() as scratch:
            module = build.with_fault(fault, Path(scratch))
            missed = pass_with(module, fault.tests, seconds)
        n_missed += missed
        print("MISSED " if missed else "noticed", name, flush=True)
    print(f"{len(names)} faults, {n_missed} missed")
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())

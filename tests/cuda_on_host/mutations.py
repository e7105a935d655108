"""Whether the tests on a played device notice faults of the CUDA code: each of these is put in and
must make them fail.

    python tests/cuda_on_host/mutations.py BUILD [NAME...]

BUILD is a folder for a build of its own, which later runs find again. Takes a few minutes: what is
compiled is one file a fault, and the tests stop at the first that fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ["tests/test_cuda.py", "tests/test_cuda_faults.py"]
SELECTED = "large or rows or named or every_family or failure or formats"


@dataclass(frozen=True)
class Fault:
    file: str
    sound: str
    faulty: str
    variant: str = "plain"


FAULTS = {
    "no barrier while sums are added up": Fault(
        "device/kernels.cuh", "      WKM_BARRIER();\n      add_from", "      add_from"
    ),
    "no barrier before sums are written again": Fault(
        "device/kernels.cuh", "WKM_BARRIER();  // before sums are written again", ""
    ),
    "no barrier after the counters' carries": Fault(
        "device/kernels.cuh", "WKM_BARRIER();  // every carry has been taken", "", "races"
    ),
    "a barrier that some threads skip": Fault(
        "device/kernels.cuh", "WKM_BARRIER();  // before", "if (thread < 100) WKM_BARRIER();  //"
    ),
    "no barrier between phases": Fault(
        "batch/batch.cu",
        "work(static_cast<int>(place().thread));\n    WKM_BARRIER();",
        "work(static_cast<int>(place().thread));",
    ),
    "phases that run into each other": Fault(
        "batch/solve.h", "team_.phase([](int) {});\n", "", "races"
    ),
    "counts that are added plainly": Fault(
        "device/kernels.cuh",
        "if (count > 0) add(&slice_counts[bin], static_cast",
        "if (count > 0) slice_counts[bin] += (static_cast",
        "races",
    ),
    "a first bad item that is noted plainly": Fault(
        "items/items.h",
        "if (!good_importance) lower(&errors->importance, index);",
        "if (!good_importance && index < errors->importance) errors->importance = index;",
        "races",
    ),
    "counts that begin as they are": Fault(
        "device/device_backend.cuh",
        "check(cudaMemsetAsync(counts.data(), 0, n_bins",
        "if (n == 0) check(cudaMemsetAsync(counts.data(), 0, n_bins",
    ),
    "less shared memory than is used": Fault(
        "device/device_backend.cuh",
        "const std::size_t shared = words *",
        "const std::size_t shared = words / 2 *",
    ),
    "a sort on another stream": Fault(
        "device/device_primitives.cu",
        "first_bit,\n                                          kLastBit, queue.stream",
        "first_bit,\n                                          kLastBit, nullptr",
    ),
    "a sort that is looked for in the wrong buffer": Fault(
        "device/device_primitives.cu",
        "if (buffers.Current() != keys.data())",
        "if (buffers.Current() == keys.data())",
    ),
    "results that nobody waits for": Fault(
        "device/device_backend.cuh", "    wait();\n    return values;", "    return values;"
    ),
    "uploads from memory that is gone": Fault(
        "device/device_backend.cuh", "    uploads_.push_back(held);\n", ""
    ),
    "blocks that share a workspace": Fault(
        "batch/batch.cu", "workspace + at.block * workspace_of_block", "workspace", "races"
    ),
    "an item too many": Fault("device/tiles.h", "if (item < n) sum", "if (item <= n) sum"),
}


def run(*command: object, **environment: str) -> bool:
    try:
        subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **environment},
            capture_output=True,
            check=True,
            timeout=1800,  # a fault may hang
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def build(folder: Path, variant: str) -> bool:
    return run("cmake", "--build", folder / "build", "--target", f"wkmeans_cuda_module_{variant}")


def tests_pass(folder: Path, variant: str) -> bool:
    module = folder / "build/cuda_on_host" / variant / "_cuda.so"
    return run(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
        *("-k", SELECTED, *(ROOT / test for test in TESTS)),
        WKMEANS_CUDA_ON_HOST=str(module),
        HYPOTHESIS_PROFILE="sanitized",
    )


def is_noticed(folder: Path, fault: Fault) -> bool:
    path = folder / "tree/csrc/cuda" / fault.file
    sound = path.read_text()
    if sound.count(fault.sound) != 1:
        raise SystemExit(f"{fault.file} holds this {sound.count(fault.sound)} times: {fault.sound}")
    path.write_text(sound.replace(fault.sound, fault.faulty))
    try:
        if not build(folder, fault.variant):
            raise SystemExit(f"does not compile: {fault}")
        return not tests_pass(folder, fault.variant)
    finally:
        path.write_text(sound)


def main() -> int:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(FAULTS)
    for part in ("csrc", "cmake", "tests/cuda_on_host", "CMakeLists.txt"):
        source, copy = ROOT / part, folder / "tree" / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        else:
            shutil.copy2(source, copy)
    pybind11 = subprocess.check_output([sys.executable, "-m", "pybind11", "--cmakedir"], text=True)
    options = {
        "WKMEANS_CUDA": "HOST",
        "WKMEANS_BUILD_EXTENSION": "ON",
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.strip(),
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    if not run("cmake", "-S", folder / "tree", "-B", folder / "build", "-G", "Ninja", *definitions):
        raise SystemExit("the build cannot be configured")
    for variant in ("plain", "races"):
        if not (build(folder, variant) and tests_pass(folder, variant)):
            raise SystemExit(f"the tests must pass before a fault is put in ({variant})")
    missed = [name for name in names if not is_noticed(folder, FAULTS[name])]
    for name in names:
        print("MISSED " if name in missed else "noticed", name)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

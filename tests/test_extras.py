"""Each extra alone: what it installs is all that its entry points need.

Everywhere, in an interpreter to which nothing else seems installed. With WKMEANS_WHEEL, the path of
a wheel, in an environment of its own as well (`.ci/run extras`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
from fresh import run_python

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {
    path.stem.removeprefix("with_"): path
    for path in sorted((ROOT / "tests" / "extras").glob("with_*.py"))
}
WHEEL = os.environ.get("WKMEANS_WHEEL")

MODULES = {"scikit-learn": "sklearn", "ml-dtypes": "ml_dtypes"}
"""Modules that are not called as their distribution is."""
BRINGS = {
    "onnx": ("ml_dtypes",),
    "onnxscript": ("onnx_ir", "ml_dtypes"),
    "scikit-learn": ("scipy", "joblib"),
    "transformers": ("rich", "safetensors", "huggingface_hub", "tokenizers"),
}
"""What distributions bring along that others of ours need too."""


def requirements(extra):
    """The distributions that an extra installs, by the name of each."""
    if extra == "nothing":
        return set()
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = set()
    for requirement in project["optional-dependencies"][extra]:
        nested = re.fullmatch(r"wkmeans\[(.*)\]", requirement)
        for inner in nested[1].split(",") if nested else ():
            found |= requirements(inner.strip())
        if not nested:
            found.add(re.split(r"[<>=!~\[; ]", requirement)[0])
    return found


def modules(distributions):
    return {
        module
        for name in distributions
        for module in (MODULES.get(name, name), *BRINGS.get(name, ()))
    }


def test_every_extra_for_users_is_called():
    """Those for developers apart, whose tools CI's other stages call."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    developers = {"test", "bench", "peers", "docs", "lint"}
    assert project["optional-dependencies"].keys() - developers == SCRIPTS.keys() - {"nothing"}


@pytest.mark.slow
@pytest.mark.parametrize("extra", SCRIPTS)
def test_nothing_but_the_extra_is_needed(extra, tmp_path):
    needed = modules(requirements(extra))
    for module in needed:
        if find_spec(module) is None:
            pytest.skip(f"{module} is missing: pip install 'wkmeans[{extra}]'")
    every = set().union(*(modules(requirements(other)) for other in SCRIPTS))
    script = f"exec(compile(open({str(SCRIPTS[extra])!r}).read(), {extra!r}, 'exec'))"
    finished = run_python(script, cwd=tmp_path, blocked=sorted(every - needed))
    assert finished.returncode == 0, finished.stderr


@pytest.mark.skipif(WHEEL is None, reason="WKMEANS_WHEEL names no wheel to install")
@pytest.mark.parametrize("extra", SCRIPTS)
def test_the_extra_installed_alone(extra, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    wanted = str(WHEEL) if extra == "nothing" else f"{WHEEL}[{extra}]"
    pip = [scripts / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wanted], check=True)
    run = subprocess.run(
        [scripts / "python", SCRIPTS[extra]], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    version = subprocess.run([scripts / "wkmeans", "--version"], capture_output=True, text=True)
    assert version.stdout.startswith("wkmeans "), version.stderr

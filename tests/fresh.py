"""Runs things as a stranger does: in an interpreter that has imported nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys


def run_python(code, *arguments, cwd=None, blocked=(), **options):
    """A new interpreter; `blocked` modules are not installed, as far as it can tell."""
    missing = "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    script = f"import sys\n{missing}{code}"
    settings = {"text": True, "capture_output": True, "timeout": 300, **options}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **settings,
    )


def run_wkmeans(*arguments, **options):
    """The command line."""
    return run_python("from wkmeans.cli import main; sys.exit(main())", *arguments, **options)

"""The README, typed by a stranger: nothing is imported that it does not import itself."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from fresh import run_python, run_wkmeans
from test_readme import FENCE, README, examples

TEXT = README.read_text(encoding="utf-8")


def commands():
    """Lines of the README's shells that call the command, as lists of arguments."""
    fences = [fence[2] for fence in FENCE.finditer(TEXT) if fence[1] in ("", "sh", "console")]
    lines = [line for fence in fences for line in fence.splitlines()]
    called = [re.fullmatch(r"(?:\$ )?wkmeans (.*)", line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in called if match]


@pytest.mark.slow
def test_the_snippets_print_what_they_say_they_print(tmp_path):
    """One session, in order; what a test module imports is not there."""
    for module in ("torch", "sklearn", "safetensors"):
        pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[demo]'")
    scripts = [(code, output) for code, output in examples(TEXT) if ">>> " not in code]
    assert len(scripts) >= 2
    session = "\n".join(code for code, _ in scripts)
    finished = run_python(session, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    printed = "".join(output for _, output in scripts if output is not None)
    assert finished.stdout.split() == printed.split()


def test_the_commands_work_one_after_another(tmp_path):
    for module in ("safetensors", "ml_dtypes", "rich"):
        pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
    from safetensors.numpy import save_file

    weights = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    save_file({"w": weights}, tmp_path / "model.safetensors")
    files = [c for c in commands() if c[0] in ("compress", "inspect", "decompress")]
    assert {command[0] for command in files} == {"compress", "inspect", "decompress"}
    for command in files:
        if "--calibration" in command:  # which is for a folder with a tokenizer
            continue
        finished = run_wkmeans(*command, cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr


def test_every_subcommand_explains_itself():
    for arguments in ((), ("compress",), ("decompress",), ("inspect",), ("demo",)):
        finished = run_wkmeans(*arguments, "--help")
        assert finished.returncode == 0 and finished.stdout.startswith("usage: wkmeans")
        assert "torch" not in finished.stderr


def test_a_wrong_call_is_answered_by_usage():
    finished = run_wkmeans("compres")
    assert finished.returncode == 2 and "invalid choice: 'compres'" in finished.stderr


def test_an_estimate_does_not_wait_for_the_compiler():
    """Which torch imports, for seconds, where a mode of its own runs for the first time."""
    pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
    finished = run_python(
        "import torch\n"
        "from wkmeans.importance import estimate\n"
        "net, batch = torch.nn.Linear(4, 3), (torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))\n"
        "for objective in ('fisher', 'gradient+hessian'):\n"
        "    estimate(net, [batch], objective=objective)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert finished.stdout == "False\n", finished.stderr

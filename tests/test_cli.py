"""The command line: exit codes, and errors in one line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import wkmeans
from wkmeans import cli

_demo_extra = [
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[demo]'")
    for module in ("torch", "sklearn", "rich", "matplotlib")
]
from wkmeans import demo  # noqa: E402


def test_the_console_script_is_main():
    (script,) = entry_points(group="console_scripts", name="wkmeans")
    assert script.load() is cli.main


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"wkmeans {wkmeans.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["demo", "--k", "x"]])
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == 2
    assert "usage: wkmeans" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "0"], "k: expected 1 to 65536, got 0"),
        (["--densities", "2"], "densities: expected more than 0"),
        (["--seeds", "0"], "seeds: expected at least 1"),
        (["--seed", "-1"], "seed: expected at least 0, got -1"),
        (["--temperature", "-1"], "temperature: expected positive"),
        (["--objectives", "magnitude"], "objectives: expected some of baseline, fisher"),
        (["--hidden", "0"], "at least 1 unit"),
        (["--output", "plot.txt"], "output: expected a name that ends in one of"),
        (["--data-dir", "."], "--data-dir belongs to --data fashion-mnist"),
        (["--data", "fashion-mnist", "--data-dir", "nowhere"], "dataset-fashion-mnist"),
    ],
)
def test_a_failure_is_1_and_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("wkmeans: error: ") and error.count("\n") == 1
    assert message in error


def test_demo_runs_with_the_options_given(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = "--seeds 1 --seed 7 --k 3 --densities --objectives baseline gradient --hidden 8"
    assert cli.main(["demo", *options.split(), "--temperature", "2", "--output", "a.svg"]) == 0
    printed = capsys.readouterr().out
    assert "k = 3" in printed and "density 0." not in printed
    assert "network 64-8-10" in printed and "hessian" not in printed
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_options_become_a_plan(monkeypatch):
    plans = []
    monkeypatch.setattr(demo, "run", lambda data, plan, **_: plans.append((data, plan)))
    assert cli.main(["demo"]) == 0
    assert plans.pop() == ("digits", demo.PLANS["digits"])
    assert cli.main(["demo", "--data", "fashion-mnist", "--seeds", "2", "--seed", "5"]) == 0
    data, plan = plans.pop()
    assert data == "fashion-mnist" and plan.seeds == (5, 6)
    assert plan.widths == demo.PLANS["fashion-mnist"].widths
    assert cli.main(["demo", "--temperature", "3", "--k", "4", "4", "5"]) == 0
    _, plan = plans.pop()
    assert plan.temperatures == (3.0,)
    assert [str(setting) for setting in plan.settings[:2]] == ["k = 4", "k = 5"]


def test_a_missing_extra_is_one_line_too():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from wkmeans.cli import main; sys.exit(main(['demo']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "wkmeans: error: the demo needs matplotlib: pip install 'wkmeans[demo]'\n"
    )


def test_an_interrupt_is_130(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130

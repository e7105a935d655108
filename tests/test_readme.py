"""Every Python example of the README runs and prints what the README says it prints."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from itertools import pairwise
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
LANGUAGES_OF_OUTPUT = ("", "text", "output", "console")


def examples(text: str) -> list[tuple[str, str | None]]:
    """Each ``python`` fence with the text of the output fence right behind it, if there is one."""
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in pairwise([*fences, None]):
        if fence[1] != "python":
            continue
        between = text[fence.end() : following.start()] if following else ""
        is_output = following and following[1] in LANGUAGES_OF_OUTPUT and not between.strip()
        found.append((fence[2], following[2] if is_output else None))
    return found


def run_session(source: str, names: dict) -> None:
    """A fence of ``>>>`` lines, as a doctest."""
    test = doctest.DocTestParser().get_doctest(source, names, "README.md", str(README), 0)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.write, clear_globs=False)
    names.update(test.globs)
    assert runner.failures == 0, report.getvalue()


def run_script(source: str, expected: str | None, names: dict) -> None:
    """A fence of plain statements; what it prints stands in the next fence or behind ``# ``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, str(README), "exec"), names)
    if expected is None:
        # print(x)  # the output, on the same line
        comments = re.findall(r"^[ \t]*print\(.*\)[ \t]+#[ \t]?(.*)$", source, re.MULTILINE)
        if not comments:
            assert printed.getvalue() == "", "the README shows no output for this"
            return
        expected = "\n".join(comments)
    assert printed.getvalue().split() == expected.split()


def test_examples(tmp_path, monkeypatch):
    """In order and in one namespace, as a reader would type them."""
    found = examples(README.read_text(encoding="utf-8"))
    assert found, "the README has examples"
    monkeypatch.chdir(tmp_path)
    if any("torch" in source for source, _ in found):
        pytest.importorskip("torch")
    names: dict = {"__name__": "readme"}
    for source, expected in found:
        if ">>> " in source:
            run_session(source, names)
        else:
            run_script(source, expected, names)


def test_a_wrong_output_would_be_noticed():
    for text in (
        "```python\nprint(1 + 1)\n```\n```text\n3\n```\n",
        "```python\nprint(1 + 1)  # 3\n```\n",
        "```python\nprint(1 + 1)\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
    ):
        ((source, expected),) = examples(text)
        run = run_session if ">>> " in source else run_script
        arguments = (source, {}) if run is run_session else (source, expected, {})
        with pytest.raises(AssertionError):
            run(*arguments)

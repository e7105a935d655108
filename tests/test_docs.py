"""Examples of the documentation run and print what it says, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_readme import examples, run_script, run_session

import wkmeans

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if examples(page.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_examples(page, tmp_path, monkeypatch):
    """Those of one page, in order and in one namespace."""
    found = examples(page.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    for package in ("torch", "transformers"):
        if any(package in source for source, _ in found):
            pytest.importorskip(package)
    names: dict = {"__name__": "docs"}
    for source, expected in found:
        if ">>> " in source:
            run_session(source, names)
        else:
            run_script(source, expected, names)


def test_there_are_pages_with_examples():
    assert len(PAGES) >= 2


def test_the_reference_has_every_public_name():
    reference = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("reference/*.md"))
    documented = set(re.findall(r"auto\w+:: wkmeans\.(\w+)$", reference, re.MULTILINE))
    assert set(wkmeans.__all__) - documented == set()


@pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources beside the tests")
@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/solver.md"])
def test_files_that_a_page_names_exist(page):
    """By their path, or by the end of it."""
    folders = ("csrc", "python", "tests", "docs", "bench", "cmake")
    ends = {
        "/".join(path.relative_to(ROOT).parts[start:])
        for folder in folders
        for path in [ROOT / folder, *(ROOT / folder).rglob("*")]
        for start in range(len(path.relative_to(ROOT).parts))
    }
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`([A-Za-z0-9_/]+(?:/|\.(?:py|h|cpp|cu|md|txt)))`", text)
    assert len(named) >= 3
    assert [name for name in named if name.rstrip("/") not in ends] == []


@pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources beside the tests")
def test_lemmas_that_code_cites_are_proved():
    proved = re.findall(r"^\*\*Lemma (\w+) ", (DOCS / "solver.md").read_text("utf-8"), re.MULTILINE)
    sources = (path for path in (ROOT / "csrc").rglob("*.*") if path.is_file())
    cited = {
        lemma
        for path in sources
        for lemma in re.findall(r"\bLemmas?[\s/]+(\d+[a-z]?)", path.read_text("utf-8"))
    }
    assert cited
    assert cited - set(proved) == set()

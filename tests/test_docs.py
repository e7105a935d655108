"""Every Python example of the documentation runs and prints what the page says it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_readme import examples, run_script, run_session

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if examples(page.read_text(encoding="utf-8")))


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

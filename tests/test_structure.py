"""The package's shape: which module imports which, and how much lies in one folder."""

import ast
from pathlib import Path

import pytest

import wkmeans

PACKAGE = Path(wkmeans.__file__).parent


def module_name(path, root):
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path, name):
    """Every ``(module, name)`` of an import statement: at the top, in functions, for typing."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            yield from ((module, alias.name) for alias in node.names)


def import_graph(root):
    """The modules below `root` and, for each, those of them that it imports.

    ``from package import name`` imports the module of that name or, where there is none, the
    package.
    """
    paths = {module_name(path, root): path for path in root.rglob("*.py")}
    graph = {}
    for name, path in paths.items():
        candidates = (
            module if attribute is None or f"{module}.{attribute}" not in paths else
            f"{module}.{attribute}"
            for module, attribute in imported_names(path, name)
        )  # fmt: skip
        graph[name] = {module for module in candidates if module in paths}
    return graph


def circle(graph):
    """Modules that import one another in a ring, or None: depth first, back to an open one."""
    finished, open_modules = set(), []

    def visit(module):
        if module in open_modules:
            return [*open_modules[open_modules.index(module) :], module]
        if module in finished:
            return None
        open_modules.append(module)
        found = next(filter(None, map(visit, sorted(graph[module]))), None)
        finished.add(open_modules.pop())
        return found

    return next(filter(None, map(visit, sorted(graph))), None)


def test_no_import_circle():
    graph = import_graph(PACKAGE)
    assert "wkmeans._clustering" in graph["wkmeans"]  # the graph is not empty
    assert circle(graph) is None


@pytest.mark.parametrize(
    "statement",
    [
        "from p.a import x",
        "def f():\n    import p.a",
        "if TYPE_CHECKING:\n    from p import a",
        "from . import a",
        "from p import x",
        "from .a import x",
    ],
)
def test_circles_are_found(tmp_path, statement):
    package = tmp_path / "p"
    package.mkdir()
    (package / "__init__.py").write_text("from p.a import x")
    (package / "a.py").write_text("import json\nfrom p import b")
    (package / "b.py").write_text(statement)
    assert set(circle(import_graph(package))) >= {"p.a", "p.b"}
    (package / "b.py").write_text("import json")
    assert circle(import_graph(package)) is None


def folders():
    found = [folder for folder in (PACKAGE, *PACKAGE.rglob("*")) if folder.is_dir()]
    return [f for f in found if any(f.glob("*.py"))]


def test_no_folder_holds_too_many_files():
    for folder in folders():
        sources = [p for p in folder.iterdir() if p.suffix in (".py", ".pyi")]
        assert len(sources) <= 20, folder
    assert len(list((PACKAGE / "importance").glob("*.py"))) <= 12


def test_errors_speak_with_one_voice():
    """``name: expected ..., got ...``, nowhere that something must be so."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                said = " ".join(
                    part.value
                    for part in ast.walk(node.exc)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )
                for other in (" must be ", " must have ", "; got "):
                    assert other not in said, f"{path}:{node.lineno}: {said}"


def test_packages_only_import_and_export():
    """Nobody looks for code in an ``__init__``: it may find what it exports lazily, no more."""
    for path in PACKAGE.rglob("__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            assert not isinstance(node, ast.ClassDef), path
            assert not isinstance(node, ast.FunctionDef) or node.name == "__getattr__", path

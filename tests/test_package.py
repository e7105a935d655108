"""What ships: metadata, stubs that tell the truth, and an import that pulls in NumPy alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from operator import attrgetter
from pathlib import Path

import pytest

import wkmeans
from wkmeans import _core

PACKAGE = Path(wkmeans.__file__).parent
OPTIONAL = ["torch", "safetensors", "sklearn", "matplotlib", "rich", "scipy"]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


# --- metadata ---------------------------------------------------------------------------------


def test_version_is_the_distributions():
    assert wkmeans.__version__ == metadata.version("wkmeans")


def test_metadata_promises():
    promised = metadata.metadata("wkmeans")
    assert promised["Requires-Python"] == ">=3.10"
    assert promised["License-Expression"] == "Apache-2.0"
    assert {"torch", "demo", "test", "bench"} <= set(promised.get_all("Provides-Extra"))


def test_core_dependency_is_numpy_alone():
    unconditional = [line for line in metadata.requires("wkmeans") if "extra ==" not in line]
    assert [line.partition(">")[0] for line in unconditional] == ["numpy"]


def test_command_line_entry_point_loads():
    (script,) = metadata.entry_points(group="console_scripts", name="wkmeans")
    assert callable(script.load())


def test_public_names_exist():
    assert len(set(wkmeans.__all__)) == len(wkmeans.__all__)
    for name in wkmeans.__all__:
        assert getattr(wkmeans, name) is not None


# --- imports ----------------------------------------------------------------------------------


def test_import_and_numpy_calls_leave_optional_packages_alone():
    ran = run_python(
        "import sys, numpy, wkmeans\n"
        "wkmeans.wkmeans(numpy.arange(9.0), 3)\n"
        "wkmeans.prune(numpy.arange(9.0), 0.5)\n"
        f"print([name for name in {OPTIONAL} if name in sys.modules])"
    )
    assert ran.stderr == ""
    assert ran.stdout.strip() == "[]"


# --- stubs ------------------------------------------------------------------------------------


def test_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def parameters(function: ast.FunctionDef) -> list[tuple[str, str, bool]]:
    """(kind, name, whether it has a default) of every parameter but ``self``."""
    arguments = function.args
    positional = [("positional-only", a) for a in arguments.posonlyargs]
    positional += [("positional", a) for a in arguments.args]
    n_required = len(positional) - len(arguments.defaults)
    found = [(kind, a.arg, i >= n_required) for i, (kind, a) in enumerate(positional)]
    found += [
        ("keyword-only", a.arg, default is not None)
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return [parameter for parameter in found if parameter[1] != "self"]


def documented(function: object) -> ast.FunctionDef:
    """The signature that pybind11 writes on the first line of a docstring."""
    signature = (function.__doc__ or "").splitlines()[0]
    (node,) = ast.parse(f"def {signature}: ...").body
    assert isinstance(node, ast.FunctionDef)
    return node


def public(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


STUB = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8")).body
CLASSES = {node.name: node for node in STUB if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB if isinstance(node, ast.FunctionDef)}
METHODS = {
    f"{name}.{node.name}": node
    for name, class_ in CLASSES.items()
    for node in class_.body
    if isinstance(node, ast.FunctionDef) and not node.decorator_list
}


def test_stub_names_are_the_modules():
    assert set(CLASSES) | set(FUNCTIONS) == public(vars(_core))


@pytest.mark.parametrize("name", CLASSES)
def test_stub_class_has_the_modules_members(name):
    members = {node.name for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}
    assert public(members) == public(vars(getattr(_core, name)))


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_stub_function_has_the_modules_parameters(name):
    stub = {**FUNCTIONS, **METHODS}[name]
    assert parameters(stub) == parameters(documented(attrgetter(name)(_core)))

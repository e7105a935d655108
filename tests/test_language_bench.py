"""What bench/language compares with: rounding in groups, and feedback of errors on such grids."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

_FOLDER = Path(__file__).parents[1] / "bench" / "language"
if not _FOLDER.is_dir():
    pytest.skip("bench/ is not in this tree", allow_module_level=True)
_MODULES = ("rounding", "grids", "judging", "bytes_model", "bytes_run")


@pytest.fixture(scope="module")
def bench():
    """Modules by name, imported as the command imports them, and forgotten again."""
    sys.path.insert(0, str(_FOLDER))
    hidden = {name: sys.modules.pop(name) for name in _MODULES if name in sys.modules}
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in _MODULES})
    finally:
        sys.path.remove(str(_FOLDER))
        for name in _MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


@pytest.fixture
def weights():
    return torch.randn(24, 256, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("levels", "bits"), [(16, 4), (8, 3), (4, 2), (6, 64 / 24)])
def test_bits_are_those_of_packed_labels(bench, levels, bits):
    assert bench.rounding.bits_each(levels) == pytest.approx(bits + 32 / 128)


def test_rounding_keeps_groups_apart(bench, weights):
    weights[:, 128:] *= 100
    found = bench.rounding.rounded(weights, 6)
    for group in (slice(0, 128), slice(128, 256)):
        one, other = weights[:, group], found[:, group]
        steps = (one.amax(1) - one.amin(1)) / 5
        assert ((one - other).abs().amax(1) <= 0.51 * steps).all()
        assert max(len(row.unique()) for row in other) == 6


def test_feedback_is_rounding_where_inputs_are_independent(bench, weights):
    diagonal = torch.diag(torch.rand(256, dtype=torch.float64) + 0.5)
    found = bench.grids.fed_back(weights, diagonal, 8)
    torch.testing.assert_close(found, bench.rounding.rounded(weights, 8), rtol=0, atol=1e-5)


def test_feedback_makes_up_for_errors(bench, weights):
    """Each column's error is taken up by those after it as they best can: least squares."""
    inputs = torch.randn(1000, 256, dtype=torch.float64) @ torch.randn(256, 256).double()
    matrix = inputs.T @ inputs / 1000
    costs = [
        torch.einsum("ri,ij,rj->", e, matrix, e)
        for e in (
            (weights - made).double()
            for made in (
                bench.grids.fed_back(weights, matrix, 8),
                bench.rounding.rounded(weights, 8),
            )
        )
    ]
    assert costs[0] < 0.5 * costs[1]


def test_the_first_error_moves_what_follows_by_least_squares(bench, weights):
    inputs = torch.randn(1000, 256, dtype=torch.float64) @ torch.randn(256, 256).double()
    matrix = inputs.T @ inputs
    share = bench.grids._shares(matrix)
    damped = matrix + 0.01 * matrix.diagonal().mean() * torch.eye(256, dtype=torch.float64)
    expected = torch.linalg.solve(damped[1:, 1:], damped[1:, 0])
    torch.testing.assert_close(-share[0, 1:] / share[0, 0], expected)


def test_the_table_is_kept_where_it_was(bench, tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    heading = bench.bytes_run.HEADING
    readme.write_text(f"# All\n\n{heading}\n\nSaid.\n\n## Behind\n\n| other |\n")
    monkeypatch.setattr(bench.bytes_run, "README", readme)
    rows = [
        {"seed": seed, "method": name, "asked": asked, "bits": 3.25, "kl": kl, "perplexity": 4.0}
        for seed, kl in ((0, 0.5), (1, 0.25))
        for name, asked in (("rounding", 3.0), ("original", None))
    ]
    rows.append({**rows[0], "method": "diagonal"})  # of one seed only, which the table leaves out
    bench.bytes_run.write("| method | old |\n|---|---|")
    bench.bytes_run.write(bench.bytes_run.table(rows))
    assert readme.read_text() == (
        f"# All\n\n{heading}\n\nSaid.\n\n"
        "| method | bits asked | bits each | KL, nats | perplexity |\n|---|---|---|---|---|\n"
        "| original | - | 3.250 | 0.3750 (0.2500 to 0.5000) | 4.000 |\n"
        "| rounding | 3 | 3.250 | 0.3750 (0.2500 to 0.5000) | 4.000 |\n\n## Behind\n\n| other |\n"
    )

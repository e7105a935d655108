"""Problems of the campaign that once had no answer in time, or a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
from campaign.magnitudes import faults_of, problem_of

import wkmeans

ONCE_FAILED = {
    33: "beyond a format's values lay costs in whose last digit all others drown",
    134: "multipliers far above the optimum made the bound too loose for the certificate",
    159: "clusters' costs 600 decades apart",
    213: "as many centroids as weights, the lightest of them lost in scaling",
    216: "no cell was cut any more, and no bound moved",
    492: "weights narrower than a format's step, and more centroids than it has values for them",
    553: "roots beside a heavy quartic importance drowned in their distance to the mean",
    639: "thousands of paths that tied each took in every cell by itself",
    910: "zero pinned where every codebook costs the same to the last digit",
    1017: "a cost lost beside weights without importance",
    1522: "every codebook cost the same, and sweeps over all ties ran out of work",
}


@pytest.mark.parametrize("number", ONCE_FAILED)
def test_what_failed_once(number):
    faults, _ = faults_of(problem_of(number), np.random.default_rng(number))
    assert faults == []


def test_numbers_are_problems():
    first, again = problem_of(7), problem_of(7)
    assert first.name == again.name
    np.testing.assert_array_equal(first.weights, again.weights)


def test_faults_are_found(monkeypatch):
    """What the campaign looks for it sees."""
    number = next(n for n in range(100) if " optimal" in problem_of(n).name)
    problem, rng = problem_of(number), np.random.default_rng(number)
    right = wkmeans.wkmeans(problem.weights, problem.k, n_threads=1, **problem.options)

    class Wrong:
        centroids, labels, scale = right.centroids, right.labels, right.scale
        cost, lower_bound = right.cost, 2.0 * right.cost + 1.0

    monkeypatch.setattr(wkmeans, "wkmeans", lambda *_, **__: Wrong)
    faults, _ = faults_of(problem, rng)
    assert any("above the cost" in fault for fault in faults)

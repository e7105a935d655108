"""Problems of Theorem 2, their exact water level, and correlated data."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

EXACT = 1e-12
FIGURE_6 = np.array([3.0, 2.0, 1.0])  # the paper's example: Sigma_W = Sigma_X = diag(3, 2, 1)
N_SAMPLES = 40_000
Z_LIMIT = 4.5  # standard errors; the seeds are fixed, so a pass here stays a pass


@st.composite
def problems(draw, max_size=7, top=1.2):
    """Variances over 8 decades with ties, and a distortion from near 0 to past D_max."""
    variance = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(1e-4, 1e4))
    size = draw(st.integers(1, max_size))
    weight_variances, data_variances = (
        np.array(draw(st.lists(variance, min_size=size, max_size=size))) for _ in range(2)
    )
    share = draw(st.one_of(st.floats(1e-9, top), st.floats(1e-3, min(top, 0.999))))
    return share * float(weight_variances @ data_variances), weight_variances, data_variances


def exact_water_level(distortion, weight_variances, data_variances):
    """The oracle: try every number of full rectangles, in rational arithmetic."""
    capacities = sorted(
        Fraction(float(s)) * Fraction(float(x))
        for s, x in zip(weight_variances, data_variances, strict=True)
    )
    for n_full in range(len(capacities)):
        level = (Fraction(distortion) - sum(capacities[:n_full])) / (len(capacities) - n_full)
        if level <= capacities[n_full]:
            return level
    return capacities[-1]


def random_covariance(rng, size, condition=10.0):
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    covariance = basis * np.geomspace(1, condition, size) @ basis.T
    return (covariance + covariance.T) / 2


def model_distortion(weights, compressed, data_covariance):
    error = weights - compressed
    return np.einsum("ni,ij,nj->n", error, data_covariance, error)

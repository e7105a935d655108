"""Rate-distortion theory of linear models (Gao, Liu, Wang, Oh 2019, sections 4 and 5.2,
Appendices A and B).

A linear model ``f_w(x) = w' x`` has Gaussian weights ``W ~ N(0, Sigma_W)`` and data of second
moments ``Sigma_X = E[x x']``. Compressing ``W`` to ``W_hat`` distorts its output by
``E[(W - W_hat)' Sigma_X (W - W_hat)]``, and the rate of the compressor is the mutual information
``I(W; W_hat)``. Rates are in bits for the whole weight vector.

`linear_bound` and `compress_linear` are Theorem 2 and Algorithm 1 for independent weights and
uncorrelated data, where the bound is met. Theorem 2 also allows correlated weights: its expression
there is ``gaussian_bound(Sigma_W, linear_bound(D, diag(Sigma_W), data_variances).levels)``, a lower
bound, but not always the rate-distortion function, and Algorithm 1 with its independent channels
needs more (`channel_information`). `linear_bound_full` gives the rate-distortion function itself
for any two covariances, and `decorrelate` the rotation through which Algorithm 1 attains it.
`layer_bound` is Theorem 2 for the row of a layer, in the eigenbasis of its inputs' covariance.
`relu_distortion` is what Theorem 4 says of one ReLU unit.
"""

from __future__ import annotations

from wkmeans.rate_distortion._compressor import channel_information, compress_linear
from wkmeans.rate_distortion._gaussian_bound import gaussian_bound
from wkmeans.rate_distortion._layer import layer_bound
from wkmeans.rate_distortion._relu import relu_distortion
from wkmeans.rate_distortion._rotation import Rotation, decorrelate, linear_bound_full
from wkmeans.rate_distortion._water_filling import LinearBound, linear_bound

__all__ = [
    "LinearBound",
    "Rotation",
    "channel_information",
    "compress_linear",
    "decorrelate",
    "gaussian_bound",
    "layer_bound",
    "linear_bound",
    "linear_bound_full",
    "relu_distortion",
]

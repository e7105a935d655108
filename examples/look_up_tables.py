"""Sixteen values a row, as look-up tables take them: 4-bit labels and a float16 codebook.

pip install wkmeans && python examples/look_up_tables.py
"""

from __future__ import annotations

import numpy as np

import wkmeans


def main() -> None:
    rng = np.random.default_rng(0)
    weights = (0.02 * rng.standard_t(5, (64, 512))).astype(np.float32)
    inputs = rng.normal(0, 1, (2048, 512)) @ rng.normal(0, 0.1, (512, 512))
    covariance = inputs.T @ inputs / len(inputs)  # how errors of one output's weights add up

    answers = {
        "unweighted": wkmeans.wkmeans(weights, 16, axis=-1, centroid_dtype="float16"),
        "diagonal": wkmeans.wkmeans(
            weights, 16, importance=np.diag(covariance), axis=-1, centroid_dtype="float16"
        ),
        "whole matrix": wkmeans.wkmeans(
            weights, 16, importance_matrix=covariance, axis=-1, centroid_dtype="float16"
        ),
    }
    outputs = inputs @ weights.T
    for name, answer in answers.items():
        error = np.square(inputs @ answer.dequantize().T.astype(float) - outputs).mean()
        print(f"{name:12}  relative error of the outputs {error / np.square(outputs).mean():.1e}")

    best = answers["whole matrix"]
    packed = best.labels[:, ::2] | best.labels[:, 1::2] << 4
    print(f"{packed.nbytes + best.centroids.nbytes} bytes for {weights.nbytes}")


if __name__ == "__main__":
    main()

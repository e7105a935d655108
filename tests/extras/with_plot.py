"""The extra `plot`: a picture of a codebook."""

import numpy as np

import wkmeans

weights = np.random.default_rng(0).standard_normal(1000)
axes = wkmeans.plot.codebook(weights, wkmeans.wkmeans(weights, 8))
axes.figure.savefig("codebook.png")

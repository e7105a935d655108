"""Globally optimal, importance-weighted codebooks and pruning for neural networks."""

from wkmeans import rate, rate_distortion
from wkmeans._clustering import Clustering, cost_curve, wkmeans
from wkmeans._pruning import prune

__all__ = ["Clustering", "cost_curve", "prune", "rate", "rate_distortion", "wkmeans"]
__version__ = "0.1.0"

"""How much each weight of a PyTorch model matters: the `I` and `H` that the kernels take.

``estimate`` computes them from examples, per example and exactly; ``Importances`` holds, merges,
saves and loads them.
"""

try:
    import torch as _torch  # noqa: F401  (only to say what is missing, before any other import does)
except ImportError as error:
    raise ImportError("wkmeans.importance needs PyTorch: pip install 'wkmeans[torch]'") from error

from wkmeans.importance._calibration import (
    SearchResult,
    calibrate_temperature,
    search_mu,
    search_temperature,
)
from wkmeans.importance._estimate import estimate
from wkmeans.importance._imatrix import read_imatrix
from wkmeans.importance._importances import Importances
from wkmeans.importance._matrices import ImportanceMatrices, LayerImportance, estimate_matrices
from wkmeans.importance.first.tape import register_rule
from wkmeans.importance.run.state import OBJECTIVES

__all__ = [
    "OBJECTIVES",
    "ImportanceMatrices",
    "Importances",
    "LayerImportance",
    "SearchResult",
    "calibrate_temperature",
    "estimate",
    "estimate_matrices",
    "read_imatrix",
    "register_rule",
    "search_mu",
    "search_temperature",
]

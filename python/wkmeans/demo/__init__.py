"""`wkmeans demo`: a real network, compressed under every objective of the paper."""

import importlib

for _module in ("torch", "rich", "matplotlib"):
    try:
        importlib.import_module(_module)
    except ImportError as error:
        raise ImportError(f"the demo needs {_module}: pip install 'wkmeans[demo]'") from error

from wkmeans.demo._plan import PLANS, Plan  # noqa: E402  (what is missing is said first)
from wkmeans.demo._run import run  # noqa: E402

__all__ = ["PLANS", "Plan", "run"]

# The wheel works with NumPy alone, outside the tree; that the sdist builds is for the sanitizers'
# stages to show.
activate_test_environment
pip install --quiet build
with_release_build python -m build --wheel --outdir "$scratch/dist" .
(
  activate_clean_environment wheel
  cd "$scratch"
  pip install --quiet dist/*.whl
  python - <<'PYTHON'
import sys

import numpy as np

import wkmeans

clustering = wkmeans.wkmeans(np.array([0.0, 0.1, 5.0, 5.1]), 2)
np.testing.assert_allclose(clustering.centroids, [0.05, 5.05])
assert "torch" not in sys.modules
print("wkmeans", wkmeans.__version__, wkmeans.__file__)
PYTHON
)

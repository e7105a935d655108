# Each extra installed alone, and its entry points called.
activate_test_environment
pip install --quiet build
[[ -d $scratch/dist ]] && compgen -G "$scratch/dist/*.whl" >/dev/null ||
  with_release_build python -m build --wheel --outdir "$scratch/dist" .
WKMEANS_WHEEL=$(echo "$scratch"/dist/*.whl) python -m pytest tests/test_extras.py

# The documentation, warnings as errors, and every example in it.
activate_test_environment
with_release_build pip install --quiet -c constraints.txt ".[docs]"
sphinx-build --fail-on-warning --keep-going -q -b html docs "$scratch/html"
python -m pytest $on_all_cores tests/test_docs.py

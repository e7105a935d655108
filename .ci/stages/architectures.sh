# Miniatures of Hugging Face's architectures, folder to folder.
activate_test_environment
pip install --quiet -c constraints.txt "$(grep -o '"transformers>=[^"]*"' pyproject.toml | tr -d '"')"
python -m pytest $on_all_cores tests/test_architectures.py tests/test_transformers*.py

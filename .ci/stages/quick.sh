# Formatting, types and the tests that are quick: for every save.
activate_test_environment
check_formatting
python -m pytest -m "not slow" $on_all_cores

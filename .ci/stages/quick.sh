# Formatting, types and the tests that are quick: for every save.
with_cpp=OFF
activate_test_environment
check_formatting
python -m pytest -m "not slow" $on_all_cores
with_cpp=ON

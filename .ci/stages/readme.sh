# The README's test command, as printed.
activate_test_environment
PYTEST_ADDOPTS="$on_all_cores --durations=40" run_readme_command test

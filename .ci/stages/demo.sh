# The README's demo command, as printed.
activate_test_environment
run_readme_command demo

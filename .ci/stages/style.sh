# Formatting and types, and clang-tidy on every file of the kernels' host side.
activate_test_environment
check_formatting
pip install --quiet -c constraints.txt "$(lint_requirement clang-tidy)"
find csrc/cpu csrc/cuda -name '*.cpp' -print0 |
  xargs -0 -n 1 -P "$cores" clang-tidy --quiet -p "$release" --extra-arg=-DWKM_ONE_ISA

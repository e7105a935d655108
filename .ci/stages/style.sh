# Formatting and types, and clang-tidy on every file of the kernels' host side. The analyser walks
# 20,000 states of a function: by its default of 225,000 it finds nothing more in loops over numbers,
# and takes six times as long.
activate_test_environment
check_formatting
pip install --quiet -c constraints.txt "$(lint_requirement clang-tidy)"
find csrc/cpu csrc/cuda -name '*.cpp' -print0 |
  xargs -0 -n 1 -P "$cores" clang-tidy --quiet -p "$release" --extra-arg=-DWKM_ONE_ISA \
    --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=20000

# One build for the C++ and the Python tests. For the latter its extension goes in front of the
# installed one; the interpreter is not instrumented, so the runtime is preloaded, and what Python
# never frees is not a leak of ours.
activate_test_environment
unpack_sdist
cd "$sdist"
pip install --quiet --no-deps --target "$scratch/sanitized" \
  --config-settings build-dir="$scratch/asan" \
  --config-settings cmake.build-type=Debug \
  --config-settings cmake.define.WKMEANS_BUILD_TESTS=ON \
  --config-settings "cmake.define.WKMEANS_SANITIZE=address;undefined;float-cast-overflow" .
ctest --test-dir "$scratch/asan"

# What reaches the extension by other ways than these reaches the same kernels.
kernel_tests=(branch_and_bound buckets code_products compression_coding entropy_constrained formats
  halves importance_matrix_kernel include_zero inputs lattice_feedback lloyd magnitudes optimal
  properties prune threads torch)
runtime="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)"
(
  export PYTHONPATH=$scratch/sanitized ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
  export LD_PRELOAD=$runtime HYPOTHESIS_PROFILE=sanitized
  python -c "import wkmeans; print('testing', wkmeans.__file__)"
  files=("${kernel_tests[@]/#/tests/test_}")
  python -m pytest $on_all_cores "${files[@]/%/.py}"
)

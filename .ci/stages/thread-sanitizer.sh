# C++ tests under ThreadSanitizer, for one instruction set: the threads are the same under any. Left
# out: what takes long and starts no thread.
activate_test_environment
unpack_sdist
cd "$sdist"
cmake -S . -B "$scratch/tsan" -DCMAKE_BUILD_TYPE=Debug -DWKMEANS_WERROR=ON \
  -DWKMEANS_BUILD_TESTS=ON -DWKMEANS_SANITIZE=thread -DCMAKE_CXX_FLAGS=-DWKM_ONE_ISA >/dev/null
cmake --build "$scratch/tsan" --target wkmeans_tests
find tests/cpp -maxdepth 1 -name '*_test.cpp' ! -name 'half_gaps*' ! -name 'lloyd*' \
  ! -name 'squeeze*' -print0 |
  xargs -0 -I '{}' -P "$cores" "$scratch/tsan/tests/cpp/wkmeans_tests" --source-file='*{}' \
    --test-case-exclude="branch and bound finds*,branch and bound costs*,the optimum costs*"

# C++ tests on every instruction set that this processor has, and the microbenchmarks' answers.
activate_test_environment
ctest --test-dir "$release"
"$release/bench/wkmeans_bench" --benchmark_min_time=0.001

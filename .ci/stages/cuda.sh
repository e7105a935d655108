# Needs nvcc, no device: everything compiles, for one architecture of those that a user's build is
# for. The interpreter that the build remembers went with the isolated environment of the last wheel.
activate_test_environment
cmake -S . -B "$release" -DWKMEANS_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90 \
  -DCMAKE_CUDA_FLAGS=--Ofast-compile=max "-DPython_EXECUTABLE=$(command -v python)" >/dev/null
cmake --build "$release" --target _cuda wkmeans_tests
(cd "$release" && python -c "import _cuda") # loads where there is no driver

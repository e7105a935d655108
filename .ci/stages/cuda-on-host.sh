# The CUDA code on a host that plays the device, in the build that the README's test command made:
# once with its lines counted, once with every access to the device's memory watched for races.
activate_test_environment
cmake -S . -B "$release" -DWKMEANS_CUDA=HOST "-DPython_EXECUTABLE=$(command -v python)" \
  "-Dpybind11_DIR=$(python -m pybind11 --cmakedir)" -DWKMEANS_BUILD_EXTENSION=ON >/dev/null
cmake --build "$release" --target wkmeans_cuda_module_plain wkmeans_cuda_module_races
played=$release/cuda_on_host
tests=(tests/test_cuda.py tests/test_cuda_backend.py tests/test_cuda_faults.py
  tests/test_cuda_large.py)
(
  export WKMEANS_CUDA_ON_HOST=$played/plain/_cuda.so HYPOTHESIS_PROFILE=sanitized
  python -m pytest $on_all_cores "${tests[@]}"
  python tests/cuda_campaign.py 200
  python tests/cuda_on_host/coverage.py "$release" 97
  export WKMEANS_CUDA_ON_HOST=$played/races/_cuda.so
  python -m pytest $on_all_cores "${tests[@]}"
)

# WKMEANS_CUDA: whether to build the CUDA kernels and, with the extension, wkmeans._cuda.
#   AUTO  where nvcc and a device are found
#   ON    always; fails without nvcc, needs no device
#   HOST  as C++, for the tests: a host plays the device (tests/cuda_on_host)
#   OFF   never
set(WKMEANS_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO, ON, HOST or OFF")
set_property(CACHE WKMEANS_CUDA PROPERTY STRINGS AUTO ON HOST OFF)

set(WKMEANS_HAS_CUDA FALSE)
if(WKMEANS_CUDA STREQUAL "AUTO")
  find_program(WKMEANS_NVCC nvcc PATHS /usr/local/cuda/bin)
  find_program(WKMEANS_NVIDIA_SMI nvidia-smi)
  if(WKMEANS_NVCC AND WKMEANS_NVIDIA_SMI)
    execute_process(COMMAND ${WKMEANS_NVIDIA_SMI} --list-gpus
      OUTPUT_VARIABLE gpus ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND gpus MATCHES "GPU 0")
      set(WKMEANS_HAS_CUDA TRUE)
    endif()
  endif()
elseif(WKMEANS_CUDA STREQUAL "HOST")
  add_subdirectory(tests/cuda_on_host)
elseif(WKMEANS_CUDA)
  set(WKMEANS_HAS_CUDA TRUE)
endif()
if(NOT WKMEANS_HAS_CUDA)
  return()
endif()

# Machine code for data-centre parts, PTX for what comes later.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
find_package(CUDAToolkit 13 REQUIRED)

# No fused multiply-adds, as on the CPU: the same mathematics gives the same bits.
add_library(wkmeans_cuda_options INTERFACE)
target_compile_options(wkmeans_cuda_options INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false -Xcompiler=-Wall,-Wextra>)
if(WKMEANS_WERROR)
  target_compile_options(wkmeans_cuda_options INTERFACE
    $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()

# The host's share: plain C++.
file(GLOB_RECURSE cuda_host_sources CONFIGURE_DEPENDS csrc/cuda/*.cpp)
add_library(wkmeans_cuda_host STATIC ${cuda_host_sources})
target_link_libraries(wkmeans_cuda_host PUBLIC wkmeans_cpu PRIVATE wkmeans_options)

file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS csrc/cuda/*.cu)
add_library(wkmeans_cuda STATIC ${cuda_sources})
target_link_libraries(wkmeans_cuda PUBLIC wkmeans_cuda_host CUDA::cudart_static
  PRIVATE wkmeans_cuda_options)

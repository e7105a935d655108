#pragma once

// The mathematics is written once and compiled for the host and, under nvcc, for the device. It is
// always inlined, so that loops over it vectorise in whatever instruction set calls it.
#if defined(__CUDACC__)
#define WKM_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define WKM_HD __forceinline
#else
#define WKM_HD inline __attribute__((always_inline))
#endif

// How often the loop that follows is to be unrolled for the device; a host compiler decides itself.
#if defined(__CUDA_ARCH__)
#define WKM_DEVICE_UNROLL_PRAGMA(text) _Pragma(#text)
#define WKM_DEVICE_UNROLL(n) WKM_DEVICE_UNROLL_PRAGMA(unroll n)
#else
#define WKM_DEVICE_UNROLL(n)
#endif

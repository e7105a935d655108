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

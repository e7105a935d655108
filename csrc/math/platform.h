#pragma once

// The mathematics is written once and compiled for the host and, under nvcc, for the device.
#if defined(__CUDACC__)
#define WKM_HD __host__ __device__
#else
#define WKM_HD
#endif

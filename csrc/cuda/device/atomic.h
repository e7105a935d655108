#pragma once

#include <cstdint>

#include "math/platform.h"

#if defined(WKMEANS_CUDA_ON_HOST)
#include "cuda_on_host/atomic.h"
#endif

// What threads may do at one place at once. On a host that has but one thread, plain arithmetic.
namespace wkmeans::cuda {

// *at = min(*at, value).
WKM_HD void lower(std::uint64_t* at, std::uint64_t value) {
#if defined(__CUDA_ARCH__)
  atomicMin(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
#elif defined(WKMEANS_CUDA_ON_HOST)
  on_host::atomically(at, [value](std::uint64_t old) { return value < old ? value : old; });
#else
  if (value < *at) *at = value;
#endif
}

// *at += value; returns what was there before.
template <class Count>
WKM_HD Count add(Count* at, Count value) {
#if defined(__CUDA_ARCH__)
  return atomicAdd(at, value);
#elif defined(WKMEANS_CUDA_ON_HOST)
  return on_host::atomically(at, [value](Count old) { return old + value; });
#else
  const Count old = *at;
  *at = old + value;
  return old;
#endif
}

}  // namespace wkmeans::cuda

#pragma once

#include <thrust/copy.h>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>

#include <cstdint>

#include "math/platform.h"

// Parallel primitives over a Thrust execution policy: the device's, or the host's in tests.
namespace wkmeans::cuda {

// f(i) for i below n, in any order.
template <class Policy, class Function>
void for_each(const Policy& policy, std::uint64_t n, const Function& f) {
  thrust::for_each_n(policy, thrust::counting_iterator<std::uint64_t>(0), n, f);
}

// Marks the i that a predicate wants.
template <class Predicate>
struct WriteFlag {
  Predicate wanted;
  bool* flags;
  WKM_HD void operator()(std::uint64_t i) const { flags[i] = wanted(i); }
};

struct IsMarked {
  WKM_HD bool operator()(bool flag) const { return flag; }
};

// The marked i below n, ascending.
template <class Policy>
void select_marked(const Policy& policy, const bool* flags, std::uint64_t n, std::uint32_t* out) {
  const thrust::counting_iterator<std::uint32_t> first(0);
  thrust::copy_if(policy, first, first + static_cast<std::int64_t>(n), flags, out, IsMarked{});
}

}  // namespace wkmeans::cuda

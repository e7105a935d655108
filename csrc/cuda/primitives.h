#pragma once

#include <thrust/copy.h>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>

#include <cstdint>

// Parallel primitives over a Thrust execution policy: the device's, or the host's in tests.
namespace wkmeans::cuda {

// f(i) for i below n, in any order.
template <class Policy, class Function>
void for_each(const Policy& policy, std::uint64_t n, const Function& f) {
  thrust::for_each_n(policy, thrust::counting_iterator<std::uint64_t>(0), n, f);
}

// The i below n for which wanted(i), ascending; returns how many.
template <class Policy, class Predicate>
std::uint64_t select(const Policy& policy, std::uint64_t n, const Predicate& wanted,
                     std::uint32_t* out) {
  const thrust::counting_iterator<std::uint32_t> first(0);
  const auto end = thrust::copy_if(policy, first, first + static_cast<std::int64_t>(n), out, wanted);
  return static_cast<std::uint64_t>(end - out);
}

}  // namespace wkmeans::cuda

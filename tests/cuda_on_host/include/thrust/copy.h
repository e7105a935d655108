#pragma once

#include <cstddef>

#include "thrust/for_each.h"

namespace thrust {

// Waits, as Thrust does to learn how many there are.
template <class Allocator, class Index, class Stencil, class Out, class Predicate>
Out copy_if(const cuda::Policy<Allocator>& policy, counting_iterator<Index> first,
            counting_iterator<Index> last, Stencil stencil, Out out, const Predicate& wanted) {
  namespace on_host = wkmeans::cuda::on_host;
  throw_last_error();
  const std::ptrdiff_t scratch_size = 1000 + (last - first) / 64;
  char* const scratch = policy.allocator->allocate(scratch_size);
  std::ptrdiff_t n = 0;
  on_host::enqueue(policy.stream, [&] {
    on_host::fill_with_garbage(scratch, static_cast<std::size_t>(scratch_size));
    for (std::int64_t i = 0; i < last - first; ++i) {
      if (wanted(stencil[i])) out[n++] = *(first + i);
    }
  });
  on_host::wait(policy.stream);
  policy.allocator->deallocate(scratch, static_cast<std::size_t>(scratch_size));
  return out + n;
}

}  // namespace thrust

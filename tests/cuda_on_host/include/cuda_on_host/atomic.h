#pragma once

#include <cstddef>

namespace wkmeans::cuda::on_host {

// Tells the detector of races, where the code that runs is watched.
void note_atomic(const void* at, std::size_t size);

// Fibers switch at barriers alone: plain arithmetic is atomic, but not to be watched as such.
template <class Value, class Change>
__attribute__((noinline, no_sanitize("thread"))) Value atomically(Value* at, const Change& change) {
  note_atomic(at, sizeof(Value));
  const Value old = *at;
  *at = change(old);
  return old;
}

}  // namespace wkmeans::cuda::on_host

#pragma once

#include <cstddef>
#include <cstdint>

// Finds races between threads of the device. Code compiled with -fsanitize=thread, but linked to
// races.cpp, reports every access to memory; two of them race where one at least writes, not both
// are atomic, and they are of threads of one launch that no barrier separates.
namespace wkmeans::cuda::on_host {

// Memory that is watched: shared memory, which is each block's own, and behind it the device's.
struct Watched {
  std::uintptr_t begin, shared_end, end;
};
Watched watched_memory();  // memory.cpp

// Who runs from now on.
void begin_launch();
void begin_block();
void begin_epoch();                       // all threads of the block have met
void begin_thread(std::uint32_t thread);  // of those of the block

std::uint64_t n_watched_accesses();

}  // namespace wkmeans::cuda::on_host

#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace wkmeans {

// Runs numbered tasks on up to `n_threads` threads. What a task computes may depend on its number
// alone, never on the thread that runs it: that is what keeps results the same for any `n_threads`.
class Parallel {
public:
  explicit Parallel(int n_threads) : n_threads_(n_threads < 1 ? 1 : n_threads) {}

  int n_threads() const { return n_threads_; }

  // Calls `make_worker()` once a thread and `worker(task)` once a task. Of the exceptions thrown,
  // the one of the smallest task number is rethrown, so that the error does not depend on timing
  // either.
  template <class MakeWorker>
  void run_with_workers(std::int64_t n_tasks, MakeWorker&& make_worker) const {
    std::atomic<std::int64_t> next{0};
    std::mutex guard;
    std::exception_ptr failure;
    std::int64_t failed_task = n_tasks;
    const auto work = [&] {
      std::int64_t task = 0;
      try {
        auto worker = make_worker();
        while ((task = next.fetch_add(1, std::memory_order_relaxed)) < n_tasks) worker(task);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(guard);
        if (!failure || task < failed_task) {
          failure = std::current_exception();
          failed_task = task;
        }
      }
    };
    const std::int64_t useful = n_tasks < n_threads_ ? n_tasks : n_threads_;
    std::vector<std::thread> helpers;
    helpers.reserve(useful > 1 ? static_cast<std::size_t>(useful - 1) : 0);
    try {
      for (std::int64_t i = 1; i < useful; ++i) helpers.emplace_back(work);
    } catch (const std::system_error&) {
      // The system grants no more threads: those that run, this one at least, finish the work.
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
  }

  template <class Task>
  void run(std::int64_t n_tasks, Task&& task) const {
    run_with_workers(n_tasks, [&] { return [&](std::int64_t number) { task(number); }; });
  }

private:
  int n_threads_;
};

// Long arrays are cut into chunks of this many items, whatever the number of threads, and partial
// sums are combined in chunk order.
constexpr std::int64_t kChunk = 1 << 15;

inline std::int64_t chunk_count(std::int64_t n) { return (n + kChunk - 1) / kChunk; }

template <class Task>  // task(chunk, begin, end)
void for_each_chunk(const Parallel& parallel, std::int64_t n, Task&& task) {
  parallel.run(chunk_count(n), [&](std::int64_t chunk) {
    const std::int64_t begin = chunk * kChunk;
    task(chunk, begin, begin + kChunk < n ? begin + kChunk : n);
  });
}

}  // namespace wkmeans

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "cpu/base/interrupt.h"

namespace wkmeans {

// Runs numbered tasks on up to `n_threads` threads. What a task computes may depend on its number
// alone, never on the thread that runs it: that is what keeps results the same for any `n_threads`.
class Parallel {
public:
  explicit Parallel(int n_threads) : n_threads_(n_threads < 1 ? 1 : n_threads) {}

  int n_threads() const { return n_threads_; }

  // Calls `make_worker()` once a thread and `worker(task)` once a task. Of the exceptions thrown,
  // the one of the smallest task number is rethrown, so that the error does not depend on timing
  // either. Between tasks every thread looks whether the caller wants it to stop.
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
        while ((task = next.fetch_add(1, std::memory_order_relaxed)) < n_tasks) {
          stop_if_interrupted();
          worker(task);
        }
      } catch (...) {
        const std::lock_guard<std::mutex> lock(guard);
        if (!failure || task < failed_task) {
          failure = std::current_exception();
          failed_task = task;
        }
      }
    };
    const std::int64_t useful = n_tasks < n_threads_ ? n_tasks : n_threads_;
    Helpers helpers(useful - 1, work);
    work();
    helpers.join();
    if (failure) std::rethrow_exception(failure);
  }

  template <class Task>
  void run(std::int64_t n_tasks, Task&& task) const {
    run_with_workers(n_tasks, [&] { return [&](std::int64_t number) { task(number); }; });
  }

private:
  // Threads that work beside the calling one.
  class Helpers {
  public:
    template <class Work>
    Helpers(std::int64_t count, const Work& work) {
      threads_.reserve(count > 0 ? static_cast<std::size_t>(count) : 0);
      try {
        for (std::int64_t i = 0; i < count; ++i) {
          threads_.emplace_back([this, &work, caller = Interruption::current()] {
            const Interruption::Share share(caller);
            work();
            const std::lock_guard<std::mutex> lock(guard_);
            ++n_done_;
            one_is_done_.notify_one();
          });
        }
      } catch (const std::system_error&) {
        // The system grants no more threads: those that run, the caller at least, finish the work.
      }
    }

    // Only the caller may ask whether to stop: it goes on doing so while it waits.
    void join() {
      constexpr std::chrono::milliseconds kBetweenLooks{50};
      if (threads_.empty()) return;
      std::unique_lock<std::mutex> lock(guard_);
      Interruption* const interruption = Interruption::current();
      const auto all_are_done = [&] { return n_done_ == threads_.size(); };
      while (!one_is_done_.wait_for(lock, kBetweenLooks, all_are_done)) {
        lock.unlock();
        if (interruption) interruption->is_wanted();
        lock.lock();
      }
      lock.unlock();
      for (std::thread& thread : threads_) thread.join();
    }

  private:
    std::vector<std::thread> threads_;
    std::mutex guard_;
    std::condition_variable one_is_done_;
    std::size_t n_done_ = 0;
  };

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

#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

namespace wkmeans {

// Thrown out of a computation whose caller has asked for its end.
struct Interrupted {};

// While one stands, its thread and the helpers that `Parallel` starts for it look now and then
// whether the caller wants them to stop. The caller is asked by that one thread alone, at most
// every `kInterval`; helpers hear of the answer.
class Interruption {
public:
  using Asked = bool (*)();  // whether to stop

  static constexpr std::chrono::milliseconds kInterval{100};

  explicit Interruption(Asked asked, std::chrono::milliseconds interval = kInterval);
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  bool is_heard() const { return heard_.load(std::memory_order_relaxed); }

  // That of the calling thread; none: there is nobody to ask.
  static Interruption* current();

  // Lets a helper take part in its caller's.
  class Share {
  public:
    explicit Share(Interruption* of_caller);
    ~Share();
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
  };

  // Whether to stop; asks where this thread may.
  bool is_wanted();

private:
  const Asked asked_;
  const std::chrono::milliseconds interval_;
  Interruption* const outer_;
  std::chrono::steady_clock::time_point next_;
  std::atomic<bool> heard_{false};
};

// Throws Interrupted where the caller wants it. Reads a clock: for what takes microseconds at
// least.
void stop_if_interrupted();

// The same for short pieces of work: looks once they add up to some ten thousand steps of a few
// nanoseconds each.
void stop_if_interrupted_after(std::size_t n_steps);

}  // namespace wkmeans

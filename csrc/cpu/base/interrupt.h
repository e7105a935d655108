#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

#include "cpu/base/isa.h"

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

constexpr std::size_t kStepsBetweenLooks = std::size_t{1} << 14;

// The same for inner loops that add up their steps themselves: a call each time would cost them
// their registers.
class InterruptionLooks {
public:
  WKM_ALWAYS_INLINE void after(double n_steps_in_all) {
    if (n_steps_in_all < next_) return;
    stop_if_interrupted();
    next_ = n_steps_in_all + static_cast<double>(kStepsBetweenLooks);
  }

private:
  double next_ = static_cast<double>(kStepsBetweenLooks);
};

}  // namespace wkmeans

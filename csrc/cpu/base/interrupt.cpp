#include "cpu/base/interrupt.h"

namespace wkmeans {
namespace {

struct OfThread {
  Interruption* interruption = nullptr;
  bool may_ask = false;
  std::size_t n_steps = 0;  // since the last look
};
thread_local OfThread of_thread;

}  // namespace

Interruption::Interruption(Asked asked, std::chrono::milliseconds interval)
    : asked_(asked),
      interval_(interval),
      outer_(of_thread.interruption),
      next_(std::chrono::steady_clock::now() + interval) {
  of_thread.interruption = this;
  of_thread.may_ask = true;
}

Interruption::~Interruption() {
  of_thread.interruption = outer_;
  of_thread.may_ask = outer_ != nullptr;
}

Interruption* Interruption::current() { return of_thread.interruption; }

Interruption::Share::Share(Interruption* of_caller) { of_thread.interruption = of_caller; }

Interruption::Share::~Share() { of_thread.interruption = nullptr; }

bool Interruption::is_wanted() {
  if (is_heard()) return true;
  if (!of_thread.may_ask) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return false;
  next_ = now + interval_;
  if (asked_()) heard_.store(true, std::memory_order_relaxed);
  return is_heard();
}

void stop_if_interrupted() {
  of_thread.n_steps = 0;
  Interruption* const interruption = of_thread.interruption;
  if (interruption != nullptr && interruption->is_wanted()) throw Interrupted{};
}

void stop_if_interrupted_after(std::size_t n_steps) {
  of_thread.n_steps += n_steps;
  if (of_thread.n_steps >= kStepsBetweenLooks) stop_if_interrupted();
}

}  // namespace wkmeans

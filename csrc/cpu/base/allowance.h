#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace wkmeans {

// Thrown by a search that has looked at as many intervals as it may.
struct OutOfWork {};

// How many intervals searches may look at, all together. Whether that suffices does not depend on
// the order in which threads spend it: what is spent in vain ends the search all the same.
class Allowance {
public:
  explicit Allowance(double n_intervals)
      : left_(static_cast<std::int64_t>(std::min(n_intervals, kMost))) {}

  double left() const { return static_cast<double>(left_.load(std::memory_order_relaxed)); }

  void spend(std::size_t n_intervals) {
    const auto n = static_cast<std::int64_t>(n_intervals);
    if (left_.fetch_sub(n, std::memory_order_relaxed) < n) throw OutOfWork{};
  }

private:
  static constexpr double kMost = 4e18;

  std::atomic<std::int64_t> left_;
};

}  // namespace wkmeans

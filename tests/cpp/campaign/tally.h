#pragma once

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "campaign/cases.h"

// What a campaign counts and prints.
namespace wkmeans::testing {

constexpr double kOptimal = 1e-9;  // relative

struct Tally {
  std::uint64_t solved = 0, not_optimal = 0, false_bound = 0, false_cost = 0, open = 0;
  double worst_excess = 0.0, worst_gap = 0.0;

  std::uint64_t n_failures() const { return not_optimal + false_bound + false_cost; }
  void add(const Tally& other) {
    solved += other.solved;
    not_optimal += other.not_optimal;
    false_bound += other.false_bound;
    false_cost += other.false_cost;
    open += other.open;
    worst_excess = std::max(worst_excess, other.worst_excess);
    worst_gap = std::max(worst_gap, other.worst_gap);
  }
};

class Tallies {
public:
  void add(const std::string& name, const Tally& tally) { tallies_[name].add(tally); }

  bool has(const std::string& name) const { return tallies_.count(name) != 0; }

  std::uint64_t n_failures() const {
    std::uint64_t n = 0;
    for (const auto& entry : tallies_) n += entry.second.n_failures();
    return n;
  }

  void print() const {
    std::printf("%-44s%10s%9s%8s%8s%8s%12s%12s\n", "", "solved", "not opt.", "bound", "cost",
                "open", "most excess", "widest gap");
    for (const auto& [name, t] : tallies_) {
      std::printf("%-44s%10" PRIu64 "%9" PRIu64 "%8" PRIu64 "%8" PRIu64 "%8" PRIu64
                  "%12.1e%12.1e\n",
                  name.c_str(), t.solved, t.not_optimal, t.false_bound, t.false_cost, t.open,
                  t.worst_excess, t.worst_gap);
    }
  }

private:
  std::map<std::string, Tally> tallies_;
};

// The first few failures of a kind, in full.
class FailurePrinter {
public:
  struct Found {
    double lower_bound, optimum, cost;
    std::vector<double> centroids;
  };

  void print(const char* what, std::uint64_t seed, const Case& c, const std::string& name,
             const Found& found) {
    constexpr int kMostPrinted = 5;
    constexpr std::size_t kMostItems = 64;
    if (n_printed_[what]++ >= kMostPrinted) return;
    std::printf("%s: case %" PRIu64 ", %s, %s, n = %zu, k = %zu\n", what, seed, c.family.c_str(),
                name.c_str(), c.items.size(), c.k);
    std::printf("  lower bound %.17g, optimum %.17g, cost %.17g\n", found.lower_bound,
                found.optimum, found.cost);
    print_row("c", found.centroids);
    if (c.items.size() > kMostItems) return;
    print_row("w", c.items.weight);
    print_row("I", c.items.importance);
    if (c.quartic) print_row("H", c.items.quartic_importance);
  }

private:
  static void print_row(const char* name, const std::vector<double>& values) {
    std::printf("  %s", name);
    for (const double value : values) std::printf(" %.17g,", value);
    std::printf("\n");
  }

  std::map<std::string, int> n_printed_;
};

inline std::string name_of(const Case& c, const FormatOption& option, Zero zero) {
  return std::string(c.quartic ? "quartic, " : "quadratic, ") + option.name +
         (zero == Zero::pinned ? ", zero" : "");
}

}  // namespace wkmeans::testing

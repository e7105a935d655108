#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "cpu/base/operand.h"
#include "cpu/base/parallel.h"
#include "cpu/cluster/options.h"
#include "cpu/read/reading.h"

namespace wkmeans {

// What is known of problems before any of their items is read.
struct Facts {
  std::int64_t n_problems = 1;
  std::int64_t n_items = 1;
  DType dtype = DType::float64;
  bool quartic = false;
  int n_threads = 1;
};
Facts facts_of(const Problems& problems, int n_threads);

// How the optimum of points is searched for, in this order: by squeezing windows, by branch and
// bound on a Lagrangian (on a grid of few values, by a programme over these), by layers, which
// always find it. Each passes on what it does not close.
enum class Search { squeeze, lagrangian, layers };

// The search of points with free or with pinned zero.
Search search_of(const SolverOptions& options, Zero zero, std::size_t n_points);

// The way of problems from their items to their report.
struct Route {
  Reading reading = Reading::sorted;
  std::size_t n_buckets = 0;          // Reading::bucketed: about so many
  std::optional<Search> search;       // else that of the points, once their number is known
  bool problems_at_once = false;      // one to a thread, not all threads to one
  bool threads_of_a_problem = false;  // whether several pay for one problem
};

// Of a route, what tests choose.
struct RouteChoice {
  std::optional<Reading> reading;
  std::optional<Search> search;
};

// std::invalid_argument for a choice that the problem does not allow.
Route route_of(const Facts& facts, const SolverOptions& options, Zero zero,
               const RouteChoice& choice = {});

// How points of a whole problem are read where no codebook is asked for: never in buckets.
Reading reading_of_points(const Facts& facts);

// About how many buckets are right for a problem.
std::size_t bucket_count(std::int64_t n_items, std::size_t k);

// Whether problems go one to a thread, or one after another on all threads. Each is solved the same
// way on either path, so that the choice shows in no result.
bool problems_at_once(const Facts& facts);

}  // namespace wkmeans

#include "cpu/cluster/route.h"

#include <algorithm>
#include <stdexcept>

#include "cpu/base/tuning.h"

namespace wkmeans {
namespace {

bool is_half(DType dtype) { return dtype == DType::float16 || dtype == DType::bfloat16; }

bool can_squeeze(const SolverOptions& options, Zero zero) {
  return zero == Zero::free && !options.has_grid();
}

// Buckets tell where boundaries of free centroids can lie, and there must be a boundary.
bool can_bucket(const SolverOptions& options, Zero zero) {
  return options.solver == Solver::optimal && !options.has_grid() && zero == Zero::free &&
         options.k > 1;
}

bool buckets_pay(const Facts& facts, const SolverOptions& options) {
  return options.k <= tuning::kMostBucketedClusters &&
         static_cast<std::size_t>(facts.n_items) >=
             tuning::kFewestWeightsPerBucket * bucket_count(facts.n_items, options.k);
}

Reading best_reading(const Facts& facts, const SolverOptions& options, Zero zero) {
  const Reading of_points = reading_of_points(facts);
  if (of_points == Reading::counted) return of_points;
  return can_bucket(options, zero) && buckets_pay(facts, options) ? Reading::bucketed : of_points;
}

void check(const RouteChoice& choice, const Facts& facts, const SolverOptions& options, Zero zero) {
  const auto require = [](bool possible, const char* message) {
    if (!possible) throw std::invalid_argument(message);
  };
  if (choice.reading == Reading::counted)
    require(is_half(facts.dtype), "route: counting needs weights of half precision");
  if (choice.reading == Reading::bucketed)
    require(can_bucket(options, zero),
            "route: buckets need the optimal solver, free centroids and k > 1");
  if (choice.search == Search::squeeze)
    require(can_squeeze(options, zero), "route: squeezing needs free centroids");
}

}  // namespace

Facts facts_of(const Problems& problems, int n_threads) {
  return {problems.weights->n_problems(), problems.weights->n_items(), problems.weights->dtype(),
          problems.quartic(), n_threads};
}

Search search_of(const SolverOptions& options, Zero zero, std::size_t n_points) {
  const bool small =
      n_points <= tuning::kMostSqueezedPoints && options.k <= tuning::kMostSqueezedClusters;
  return small && can_squeeze(options, zero) ? Search::squeeze : Search::lagrangian;
}

Reading reading_of_points(const Facts& facts) {
  return is_half(facts.dtype) && facts.n_items >= tuning::kCountedItems ? Reading::counted
                                                                        : Reading::sorted;
}

std::size_t bucket_count(std::int64_t n_items, std::size_t k) {
  const std::size_t wanted =
      std::clamp(static_cast<std::size_t>(n_items) / tuning::kWeightsPerFurtherBucket,
                 tuning::kFewestBucketsPerCluster * k, tuning::kMostBucketsPerCluster * k);
  return std::clamp(wanted, tuning::kFewestBuckets, tuning::kMostBuckets);
}

bool problems_at_once(const Facts& facts) {
  const bool small = facts.n_items < tuning::kChunksToShare * kChunk;
  return facts.n_problems > 1 &&
         (small || facts.n_problems >= tuning::kProblemsPerThread * facts.n_threads);
}

Route route_of(const Facts& facts, const SolverOptions& options, Zero zero,
               const RouteChoice& choice) {
  check(choice, facts, options, zero);
  Route route;
  route.reading = choice.reading.value_or(best_reading(facts, options, zero));
  route.n_buckets = bucket_count(facts.n_items, options.k);
  route.search = choice.search;
  route.problems_at_once = problems_at_once(facts);
  const std::int64_t work = (facts.quartic ? tuning::kItemsOfAQuarticItem : 1) * facts.n_items +
                            tuning::kItemsOfACluster * static_cast<std::int64_t>(options.k);
  route.threads_of_a_problem = work >= tuning::kItemsWorthThreads;
  return route;
}

}  // namespace wkmeans

#pragma once

#include <cstddef>

#include "cpu/interval_front.h"

namespace wkmeans {

// Intervals of a row of cells that all hold the boundary at one node, the anchor. What lies left of
// it is summed once for every start and what lies right of it once for every end, outward from the
// anchor, so that an interval is one merge of two halves.

// Moments in columns, a column a field.
template <class Moments>
struct Column {
  using Fields = typename FieldsOf<Moments>::Type;

  double* at;
  std::size_t stride;

  WKM_ALWAYS_INLINE Column from(std::size_t i) const { return {at + i, stride}; }
  WKM_ALWAYS_INLINE Moments load(std::size_t i) const { return Fields::load(at + i, stride); }
  WKM_ALWAYS_INLINE void store(const Moments& moments, std::size_t i) const {
    Fields::store(moments, at + i, stride);
  }
};

// Of some ends, whole blocks of kLanes: the best start so far, and the cost of the shortest path
// through it.
struct BestStarts {
  double* costs;
  double* starts;     // as wide as a cost, so that loops over both vectorise
  double* centroids;  // quartic: of the interval last looked at
  double* candidates;
  double* excess;  // quartic: by how much the candidate's bound is too loose

  WKM_ALWAYS_INLINE BestStarts from(std::size_t i) const {
    return {costs + i, starts + i, centroids + i, candidates + i, excess + i};
  }

  // Of equal starts the first stays.
  WKM_ALWAYS_INLINE void offer(std::size_t i, double cost, double start) const {
    const double least = costs[i];
    const double kept = starts[i];
    // By addition: compilers take a selection for a conditional store and branch.
    starts[i] = kept + (cost < least ? start - kept : 0.0);
    costs[i] = cost < least ? cost : least;
  }
};

WKM_ALWAYS_INLINE double mean_of(const QuadraticMoments& m) {
  return m.quadratic.origin + m.quadratic.offset;
}
WKM_ALWAYS_INLINE double mean_of(const QuarticMoments& m) {
  const QuarticInterval::Anchor mean = QuarticInterval::anchor(m);
  return mean.origin + mean.offset;
}

// Offers one start, `cost_before` away from the first node, to the n ends at `rights`. Says whether
// every cost has all its digits.
template <class Cost>
WKM_ALWAYS_INLINE bool offer_start(const QuadraticMoments& left, double cost_before, double start,
                                   const Column<QuadraticMoments>& rights, std::size_t n, Cost cost,
                                   const BestStarts& best) {
  WKM_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) {
    const QuadraticMoments moments = merge(left, rights.load(i));
    const SecondMoments& m = moments.quadratic;
    best.offer(i, cost_before + cost(moments, m.origin + m.offset, m.second), start);
  }
  return true;
}

template <class Cost>
WKM_ALWAYS_INLINE void refine(QuarticMoments left, double cost_before,
                              Column<QuarticMoments> rights, std::size_t n, Cost cost,
                              BestStarts best) {
  WKM_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) {
    const QuarticMoments m = merge(left, rights.load(i));
    const QuarticInterval::Anchor mean = QuarticInterval::anchor(m);
    const double root = (best.centroids[i] - mean.origin) - mean.offset;
    const QuarticInterval at = QuarticInterval::refined(m, root, cost);
    best.centroids[i] = mean.origin + (mean.offset + at.root);
    best.excess[i] = at.excess;
    best.candidates[i] = cost_before + at.cost;
  }
}

WKM_ALWAYS_INLINE bool is_loose(const BestStarts& block) {
  bool loose = false;
  for (std::size_t i = 0; i < kLanes; ++i) loose |= block.excess[i] > 0.0;
  return loose;
}

template <class Cost>
WKM_ALWAYS_INLINE bool offer_start(const QuarticMoments& left, double cost_before, double start,
                                   const Column<QuarticMoments>& rights, std::size_t n, Cost cost,
                                   const BestStarts& best) {
  refine(left, cost_before, rights, n, cost, best);
  bool settled = true;
  for (std::size_t block = 0; block < n; block += kLanes) {
    bool loose = is_loose(best.from(block));
    for (int round = 1; round < QuarticInterval::kMostRounds && loose; ++round) {
      refine(left, cost_before, rights.from(block), kLanes, cost, best.from(block));
      loose = is_loose(best.from(block));
    }
    settled = settled && !loose;
  }
  WKM_INDEPENDENT
  for (std::size_t i = 0; i < n; ++i) best.offer(i, best.candidates[i], start);
  return settled;
}

}  // namespace wkmeans

#pragma once

#include <cstddef>
#include <vector>

#include "cpu/base/buffer.h"
#include "cpu/squeeze/sums.h"

namespace wkmeans {

// Where each boundary of the optimum can be: boundary j, before which cluster j ends, comes before
// some point of low[j]..high[j]. Boundaries 0 and k are the ends.
struct Windows {
  std::vector<std::size_t> low, high;

  std::size_t n_clusters() const { return low.size() - 1; }
};

// The windows of k clusters of n points, none of them empty.
Windows all_windows(std::size_t n_points, std::size_t k);

// Lloyd's rounds on sorted points, for all clusters of a row of boundaries at once.
template <class Moments>
class SqueezeLloyd {
public:
  explicit SqueezeLloyd(const SqueezeSums<Moments>& sums) : sums_(sums) {}

  // Moves the boundaries for at most `max_rounds` rounds, leaving no cluster empty.
  void polish(int max_rounds, std::vector<std::size_t>& boundaries);

  // Narrows the windows by Lemma 5: a cluster's centroid grows with either of its boundaries, and
  // the optimum's boundaries lie halfway between its centroids. So a round of Lloyd from the lowest
  // boundaries that are possible leads to boundaries that are still no higher than the optimum's,
  // and one from the highest to none that are lower. False where a window has nothing left.
  bool squeeze(int max_rounds, Windows& windows);

  // Between what each cluster's centroid must lie, from the centre of the sums.
  void bound_centroids(const Windows& windows, std::vector<double>& low, std::vector<double>& high);

  // What the clusters cost, but for rounding.
  double cost(const std::vector<std::size_t>& boundaries);

private:
  enum class Bound { none, low, high };

  void estimate(const std::vector<std::size_t>& boundaries);
  double centroid(const std::vector<std::size_t>& boundaries, std::size_t j, Bound bound) const;
  bool raise_low(Windows& windows);
  bool lower_high(Windows& windows);

  const SqueezeSums<Moments>& sums_;
  bool contradicted_ = false;
  std::vector<double> columns_;
  std::vector<double> centroids_, costs_, residuals_, stiffnesses_;
};

}  // namespace wkmeans

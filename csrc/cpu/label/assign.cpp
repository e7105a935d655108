#include "cpu/label/assign.h"

#include <algorithm>

#include "cpu/base/isa.h"
#include "cpu/label/codebook.h"
#include "cpu/label/label_pass.h"

namespace wkmeans {
namespace {

// Lane by lane, halving what is left: as many steps, whatever the weights.
struct SearchInTable {
  const double* thresholds;
  std::int64_t half;

  template <std::int64_t Lanes>
  WKM_ALWAYS_INLINE void find(std::int64_t /*items*/, const double* weight,
                              std::int64_t* label) const {
    for (std::int64_t lane = 0; lane < Lanes; ++lane) label[lane] = 0;
    for (std::int64_t step = half; step > 0; step /= 2) {
      for (std::int64_t lane = 0; lane < Lanes; ++lane) {
        label[lane] += thresholds[label[lane] + step - 1] < weight[lane] ? step : 0;
      }
    }
  }
};

}  // namespace

template <class Label>
double assign(const Problems& problems, std::int64_t problem, const std::vector<double>& centroids,
              bool unit_importance, const Parallel& parallel, Label* labels) {
  const SearchTable table = search_table(centroids);
  const auto search = [&](std::int64_t /*begin*/) {
    return SearchInTable{table.thresholds.data(), table.half};
  };
  return label_pass(problems, problem, centroids, unit_importance, parallel, search, labels);
}

double assign_roundings(std::int64_t n_items) {
  constexpr std::int64_t kOfAnItem = 9;    // H (w - c)^4, added to I (w - c)^2
  constexpr std::int64_t kOfTheLanes = 4;  // added two by two
  const std::int64_t of_a_lane = std::min(n_items, kChunk) / kLabelLanes + 1;
  return static_cast<double>(kOfAnItem + of_a_lane + kOfTheLanes + chunk_count(n_items));
}

template double assign(const Problems&, std::int64_t, const std::vector<double>&, bool,
                       const Parallel&, std::uint8_t*);
template double assign(const Problems&, std::int64_t, const std::vector<double>&, bool,
                       const Parallel&, std::uint16_t*);
template double assign(const Problems&, std::int64_t, const std::vector<double>&, bool,
                       const Parallel&, std::uint32_t*);

}  // namespace wkmeans

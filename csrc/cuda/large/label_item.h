#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "cpu/label/codebook.h"
#include "cuda/items/items.h"
#include "math/item_cost.h"

namespace wkmeans::cuda {

// The thresholds of a search table, then the centroids.
struct CodebookTable {
  std::vector<double> values;
  std::uint32_t half;
};

inline CodebookTable codebook_table(const std::vector<double>& centroids) {
  SearchTable table = search_table(centroids);
  table.thresholds.insert(table.thresholds.end(), centroids.begin(), centroids.end());
  return {std::move(table.thresholds), static_cast<std::uint32_t>(table.half)};
}

// Labels an item with its nearest centroid (ties: the lower; of equal centroids the first) and
// returns its cost there. The search has no branches: threads of a warp do not part.
struct LabelItem {
  ItemColumns items;
  std::uint32_t half;
  void* labels;
  LabelType label_type;

  WKM_HD double operator()(std::uint64_t i, const double* table) const {
    const Item item = items.at(i);
    std::uint32_t label = 0;
    WKM_DEVICE_UNROLL(1)
    for (std::uint32_t step = half; step > 0; step /= 2) {
      label += table[label + step - 1] < item.weight ? step : 0;
    }
    store_label(labels, label_type, static_cast<std::int64_t>(i), label);
    const double* centroids = table + (half > 0 ? 2 * half - 1 : 0);
    return safe_item_cost(item.weight - centroids[label], item.importance, item.quartic_importance);
  }
};

// How many roundings lie one after another in a term, at most.
constexpr double kTermRoundings = 8.0;

}  // namespace wkmeans::cuda

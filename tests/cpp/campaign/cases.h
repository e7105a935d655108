#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "campaign/exact_optimum.h"
#include "cpu/intervals/format.h"
#include "support.h"

// Random problems made to hurt, and the options of each.
namespace wkmeans::testing {

constexpr WeightFamily kHostileWeights[] = {
    {"duplicates", [](Random& r) { return static_cast<double>(r.below(4)); }},
    {"zeros of both signs",
     [](Random& r) { return r.below(2) ? r.normal() : (r.below(2) ? 0.0 : -0.0); }},
    {"offset 1e8, spread 1", [](Random& r) { return 1e8 + r.normal(); }},
    {"clumps of three widths",
     [](Random& r) {
       const double width = std::pow(10.0, -5.0 * static_cast<double>(r.below(3)));
       return static_cast<double>(r.below(3)) + width * r.normal();
     }},
    {"neighbouring floats",
     [](Random& r) { return 1.0 + static_cast<double>(r.below(9)) * 0x1p-52; }},
    {"float32 denormals",
     [](Random& r) { return (static_cast<double>(r.below(81)) - 40.0) * 0x1p-149; }},
    {"float64 denormals",
     [](Random& r) {
       constexpr double kFew[] = {-1e-160, 1e-100, 1.0};
       return r.below(4) ? (static_cast<double>(r.below(81)) - 40.0) * 5e-324 : kFew[r.below(3)];
     }},
    {"the ends of float32's range",
     [](Random& r) {
       constexpr double kEnds[] = {0.0, 0x1p-149, 0x1p-126, 1.0, 3e38, 0x1.fffffep127};
       return (r.below(2) ? 1.0 : -1.0) * kEnds[r.below(6)];
     }},
    {"60 decades", [](Random& r) { return (r.below(2) ? 1.0 : -1.0) * r.of_decades(-30, 30); }},
};

constexpr ImportanceFamily kHostileImportances[] = {
    {"small integers", [](Random& r) { return 1.0 + static_cast<double>(r.below(4)); }},
    {"the ends of float32's range",
     [](Random& r) {
       constexpr double kEnds[] = {0.0, 0x1p-149, 0x1p-126, 1.0, 0x1.fffffep127};
       return kEnds[r.below(5)];
     }},
    {"none", [](Random&) { return 0.0; }},
};

template <class Family>
std::vector<Family> all_of(std::initializer_list<std::pair<const Family*, std::size_t>> lists) {
  std::vector<Family> families;
  for (const auto& list : lists) {
    families.insert(families.end(), list.first, list.first + list.second);
  }
  return families;
}

inline std::vector<WeightFamily> weight_families() {
  return all_of<WeightFamily>({{kWeightFamilies, std::size(kWeightFamilies)},
                               {kHostileWeights, std::size(kHostileWeights)}});
}

inline std::vector<ImportanceFamily> importance_families() {
  return all_of<ImportanceFamily>({{kImportanceFamilies, std::size(kImportanceFamilies)},
                                   {kHostileImportances, std::size(kHostileImportances)}});
}

struct FormatOption {
  const char* name;
  CentroidFormat format;
  bool optimal_in_format;
};

constexpr FormatOption kFormats[] = {
    {"free", CentroidFormat::float64, false},
    {"free, in float32", CentroidFormat::float32, false},
    {"float32", CentroidFormat::float32, true},
    {"float16", CentroidFormat::float16, true},
    {"bfloat16", CentroidFormat::bfloat16, true},
    {"float8_e4m3fn", CentroidFormat::float8_e4m3fn, true},
    {"float8_e5m2", CentroidFormat::float8_e5m2, true},
    {"int8", CentroidFormat::int8, true},
};

inline const FormatValues& values_of(const FormatOption& option) {
  static std::map<CentroidFormat, FormatValues> known;
  return known.try_emplace(option.format, option.format, 1.0).first->second;
}

struct Case {
  Items items;
  std::string family;
  bool quartic;
  std::size_t k;
};

// Case `seed`, of `size(random)` items and `n_clusters(random, n)` clusters.
template <class Size, class NClusters>
Case drawn_case(std::uint64_t seed, Size&& size, NClusters&& n_clusters) {
  static const std::vector<WeightFamily> weights = weight_families();
  static const std::vector<ImportanceFamily> importances = importance_families();
  Random random(seed);
  const WeightFamily& w = weights[random.below(weights.size())];
  const ImportanceFamily& i = importances[random.below(importances.size())];
  const ImportanceFamily& h = importances[random.below(importances.size())];
  Case drawn;
  drawn.family = w.name;
  drawn.quartic = random.below(2) == 0;
  const std::size_t n = size(random);
  for (std::size_t item = 0; item < n; ++item) {
    drawn.items.weight.push_back(w.draw(random));
    drawn.items.importance.push_back(i.draw(random));
    drawn.items.quartic_importance.push_back(h.draw(random));
  }
  drawn.k = n_clusters(random, n);
  return drawn;
}

// Few items, and any number of clusters, more than the items too.
inline Case drawn_small_case(std::uint64_t seed) {
  return drawn_case(
      seed, [](Random& random) { return 1 + random.below(random.below(8) ? 9 : 24); },
      [](Random& random, std::size_t n) { return 1 + random.below(n + 1); });
}

// Costs below this are made of terms that a double cannot hold to full precision.
inline double underflow(const Case& c) {
  double most = 1.0;
  for (const double importance : c.items.importance) most = std::max(most, importance);
  for (const double importance : c.items.quartic_importance) most = std::max(most, importance);
  return 1e-300 * static_cast<double>(c.items.size()) * most;
}

}  // namespace wkmeans::testing

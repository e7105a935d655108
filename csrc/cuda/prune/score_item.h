#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/device/tiles.h"
#include "cuda/items/items.h"
#include "math/item_cost.h"

// What each thread does where weights are pruned. Scores are I w^2 + H w^4 as on the CPU; none is
// negative, so their bits order them.
namespace wkmeans::cuda {

struct ScoreErrors {
  BadItems values;
  std::uint64_t overflow = BadItems::kNone;  // a sound item whose score a double cannot hold
};

WKM_HD std::uint64_t score_key(const Item& item) {
  const double score = safe_item_cost(item.weight, item.importance, item.quartic_importance);
  std::uint64_t key;
  std::memcpy(&key, &score, sizeof key);
  return key;
}

WKM_HD std::uint64_t score_key(const ItemColumns& items, std::uint64_t i) {
  return score_key(items.at(i));
}

// The same, of an item that has not been checked yet.
WKM_HD std::uint64_t checked_score_key(const ItemColumns& items, std::uint64_t i,
                                       std::uint64_t index, ScoreErrors* errors) {
  constexpr std::uint64_t kInfinity = std::uint64_t{0x7ff} << 52;
  const Item item = items.at(i);
  const std::uint64_t key = score_key(item);
  if (item.check(index, &errors->values) && key >= kInfinity) lower(&errors->overflow, index);
  return key;
}

// The keys whose leading bits are `prefix`: those above bit `shift`.
struct KeyPrefix {
  std::uint64_t bits = 0;
  int shift = 63;  // scores have no sign

  WKM_HD bool holds(std::uint64_t key) const { return key >> shift == bits; }
};

// The next `width` bits of the keys that begin with a prefix.
struct ScoreDigit {
  ItemColumns items;
  std::uint64_t first_index;
  KeyPrefix prefix;
  int width;
  ScoreErrors* errors;

  WKM_HD std::uint32_t operator()(std::uint64_t i) const {
    const std::uint64_t key = checked_score_key(items, i, first_index + i, errors);
    if (!prefix.holds(key)) return kNoBin;
    const std::uint64_t digit = key >> (prefix.shift - width);
    return static_cast<std::uint32_t>(digit & ((std::uint64_t{1} << width) - 1));
  }
};

struct HasPrefix {
  ItemColumns items;
  KeyPrefix prefix;
  WKM_HD bool operator()(std::uint64_t i) const { return prefix.holds(score_key(items, i)); }
};

struct TakeScore {
  ItemColumns items;
  const std::uint32_t* indices;
  std::uint64_t* out;
  WKM_HD void operator()(std::uint64_t i) const { out[i] = score_key(items, indices[i]); }
};

// Keeps what scores more than `threshold`, and of its equals those before item `ties_end`.
struct WriteMask {
  ItemColumns items;
  std::uint64_t threshold;
  std::uint64_t ties_end;
  bool* mask;

  WKM_HD void operator()(std::uint64_t i) const {
    const std::uint64_t key = score_key(items, i);
    mask[i] = key > threshold || (key == threshold && i < ties_end);
  }
};

// Keeps `keep` of each group of up to kMostInThread consecutive items.
struct KeepOfGroup {
  static constexpr std::int64_t kMostInThread = 32;

  Batch batch;
  std::int64_t keep, group;
  ScoreErrors* errors;
  bool* mask;

  WKM_HD void operator()(std::uint64_t number) const {
    const std::int64_t first = static_cast<std::int64_t>(number) * group;
    const ItemColumns items = columns_of(batch, first / batch.n_items);
    const std::int64_t begin = first % batch.n_items;
    std::uint64_t keys[kMostInThread];
    WKM_DEVICE_UNROLL(1)
    for (std::int64_t i = 0; i < group; ++i) {
      keys[i] = checked_score_key(items, static_cast<std::uint64_t>(begin + i),
                                  static_cast<std::uint64_t>(first + i), errors);
    }
    WKM_DEVICE_UNROLL(1)
    for (std::int64_t i = 0; i < group; ++i) {
      std::int64_t n_better = 0;
      WKM_DEVICE_UNROLL(1)
      for (std::int64_t j = 0; j < i; ++j) n_better += keys[j] >= keys[i];
      WKM_DEVICE_UNROLL(1)
      for (std::int64_t j = i + 1; j < group; ++j) n_better += keys[j] > keys[i];
      mask[first + i] = n_better < keep;
    }
  }
};

// Keys that ascend where scores descend, of the batch's items from `first` on.
struct LoadScore {
  Batch batch;
  std::uint64_t first;
  ScoreErrors* errors;
  std::uint64_t* keys;
  std::uint32_t* indices;

  WKM_HD void operator()(std::uint64_t i) const {
    const std::uint64_t index = first + i;
    const auto n_items = static_cast<std::uint64_t>(batch.n_items);
    const ItemColumns items = columns_of(batch, static_cast<std::int64_t>(index / n_items));
    keys[i] = ~checked_score_key(items, index % n_items, index, errors);
    indices[i] = static_cast<std::uint32_t>(i);
  }
};

struct LoadRow {
  std::uint64_t row_length;
  const std::uint32_t* indices;
  std::uint32_t* rows;
  WKM_HD void operator()(std::uint64_t i) const {
    rows[i] = static_cast<std::uint32_t>(indices[i] / row_length);
  }
};

// The items of rows of equal length lie row by row, the best first.
struct WriteRowMask {
  std::uint64_t row_length, keep;
  const std::uint32_t* indices;
  bool* mask;
  WKM_HD void operator()(std::uint64_t i) const { mask[indices[i]] = i % row_length < keep; }
};

}  // namespace wkmeans::cuda

#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cuda/items/bad_value.h"
#include "cuda/large/sorted_view.h"
#include "cuda/large/sorted_weights.h"

namespace wkmeans::cuda {

inline bool fits_float32(const ItemColumn& column) {
  return column.values == nullptr || column.type != ItemType::float64;
}

// Only these bits of a float32's key differ between weights of the type.
inline int first_key_bit(ItemType type) {
  return type == ItemType::bfloat16 ? 16 : type == ItemType::float16 ? 13 : 0;
}

// A problem's items, sorted, with a pyramid of moments over them.
template <class Backend, class Key, class Moments>
class SortedItems final : public SortedWeights {
public:
  // Throws BadValue where an item is none that a solver can take.
  SortedItems(Backend& backend, const ItemColumns& items, std::uint64_t first_index)
      : backend_(backend),
        payload_(payload_of(items)),
        keys_(backend.template array<Key>(items.size)),
        payloads_(
            backend.template array<std::uint32_t>(payload_ == Payload::none ? 0 : items.size)) {
    load(items, first_index);
    if (size_ == 0) return;
    backend_.sort(keys_, payloads_, first_key_bit(items.weight.type));
    pyramid_.sorted = {keys_.data(), payloads_.data(), payload_, items.importance,
                       items.quartic_importance};
    build();
  }

  std::uint64_t size() const override { return size_; }
  bool quartic() const override { return Moments::kQuartic; }

  std::vector<WeightGroup> describe(const std::vector<Range<std::uint64_t>>& spans) override {
    const auto on_device = uploaded(spans);
    auto out = backend_.template array<WeightGroup>(spans.size());
    backend_.for_each(spans.size(), DescribeGroup<Pyramid>{pyramid_, on_device.data(), out.data()});
    return backend_.download(out.data(), spans.size());
  }

  std::vector<std::uint64_t> cut(const std::vector<Range<std::uint64_t>>& spans,
                                 std::uint64_t n_parts) override {
    const std::uint64_t n_cuts = n_parts - 1;
    const std::uint64_t n = spans.size() * n_cuts;
    const auto on_device = uploaded(spans);
    auto out = backend_.template array<std::uint64_t>(n);
    backend_.for_each(n, CutSpan<Key>{keys_.data(), on_device.data(), n_cuts, out.data()});
    const std::vector<std::uint64_t> found = backend_.download(out.data(), n);
    std::vector<std::uint64_t> cuts;
    for (std::uint64_t i = 0; i < n; ++i) {
      const Range<std::uint64_t>& span = spans[i / n_cuts];
      const bool inside = span.begin < found[i] && found[i] < span.end;
      if (inside && (cuts.empty() || cuts.back() < found[i])) cuts.push_back(found[i]);
    }
    return cuts;
  }

  std::uint64_t count_runs(const std::optional<CentroidGrid>& format) override {
    const std::vector<double> counts =
        backend_.tile_sums(size_, CountRun<Key>{starts_run(format)}, {});
    double total = 0.0;
    for (const double count : counts) total += count;
    return static_cast<std::uint64_t>(total);
  }

  std::vector<std::uint64_t> run_starts(const std::optional<CentroidGrid>& format) override {
    auto starts = backend_.template array<std::uint32_t>(count_runs(format));
    backend_.select(size_, starts_run(format), starts.data());
    const std::vector<std::uint32_t> found = backend_.download(starts.data(), starts.size());
    return {found.begin(), found.end()};
  }

  std::vector<double> different_weights(const std::vector<std::uint64_t>& ranks) override {
    auto starts = backend_.template array<std::uint32_t>(count_runs({}));
    backend_.select(size_, starts_run({}), starts.data());
    const auto on_device = uploaded(ranks);
    auto out = backend_.template array<double>(ranks.size());
    backend_.for_each(ranks.size(), TakeWeight<Key>{pyramid_.sorted, starts.data(),
                                                    on_device.data(), out.data()});
    return backend_.download(out.data(), ranks.size());
  }

  std::vector<std::uint64_t> boundaries(const std::vector<double>& thresholds) override {
    const auto on_device = uploaded(thresholds);
    auto out = backend_.template array<std::uint64_t>(thresholds.size());
    backend_.for_each(thresholds.size(),
                      FindBoundary<Key>{keys_.data(), size_, on_device.data(), out.data()});
    return backend_.download(out.data(), thresholds.size());
  }

private:
  using Pyramid = PyramidView<Key, Moments>;
  template <class T>
  using Array = typename Backend::template Array<T>;

  static Payload payload_of(const ItemColumns& items) {
    const bool unit = items.importance.values == nullptr && !items.quartic();
    if (unit && sizeof(Key) == sizeof(std::uint32_t)) return Payload::none;
    const bool fits = !unit && !items.quartic() && fits_float32(items.importance);
    return fits ? Payload::importance : Payload::item;
  }

  template <class T>
  Array<T> uploaded(const std::vector<T>& values) {
    auto array = backend_.template array<T>(values.size());
    backend_.upload(values, array.data());
    return array;
  }

  StartsRun<Key> starts_run(const std::optional<CentroidGrid>& format) const {
    return {keys_.data(), format.has_value(), format.value_or(CentroidGrid{})};
  }

  void load(const ItemColumns& items, std::uint64_t first_index) {
    auto errors = uploaded(std::vector<BadItems>(1));
    backend_.for_each(items.size, LoadItem<Key>{items, payload_, first_index, keys_.data(),
                                                payloads_.data(), errors.data()});
    const auto n_sunk = backend_.tile_sums(items.size, CountSunk<Key>{keys_.data()}, {});
    throw_if_bad(backend_.download(errors.data(), 1).front());
    size_ = items.size;
    for (const double count : n_sunk) size_ -= static_cast<std::uint64_t>(count);
  }

  void build() {
    std::size_t n = 0;
    for (std::uint64_t count = size_ / Pyramid::kLeaf; count > 0; count /= kPyramidFanOut)
      n += count;
    nodes_.emplace(backend_.template array<Moments>(n));
    pyramid_.level_count = 0;
    Moments* next = nodes_->data();
    for (std::uint64_t count = size_ / Pyramid::kLeaf; count > 0; count /= kPyramidFanOut) {
      const std::size_t level = pyramid_.level_count++;
      pyramid_.levels[level] = next;
      next += count;
      if (level == 0) {
        backend_.for_each(count, FillLeaf<Pyramid>{pyramid_});
      } else {
        backend_.for_each(count, FillFamily<Pyramid>{pyramid_, level});
      }
    }
  }

  Backend& backend_;
  Payload payload_;
  std::uint64_t size_ = 0;
  Array<Key> keys_;
  Array<std::uint32_t> payloads_;
  std::optional<Array<Moments>> nodes_;
  Pyramid pyramid_{};
};

}  // namespace wkmeans::cuda

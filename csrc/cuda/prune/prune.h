#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cuda/items/bad_value.h"
#include "cuda/prune/score_item.h"

namespace wkmeans::cuda {

// One problem's items and the mask to write for them.
struct PruneTarget {
  ItemColumns items;
  bool* mask;
  std::size_t batch;  // the batch it is of, and where it begins there: for errors
  std::uint64_t first_index;
};

inline void throw_if_bad(const ScoreErrors& errors, std::size_t batch = 0) {
  throw_if_bad(errors.values, batch);
  if (errors.overflow != BadItems::kNone) throw std::overflow_error("weights");
}

// Keeps exactly `keep` of the targets' items taken together, those of largest score; of equal
// scores the one that comes first. A radix selection: each pass counts one digit of the scores that
// agree with the last kept one so far, until few are left.
template <class Backend>
class Selection {
public:
  Selection(Backend& backend, const std::vector<PruneTarget>& targets, std::uint64_t keep)
      : backend_(backend), targets_(targets), keep_(keep) {}

  void run() {
    const Last last = find_last();
    for (std::size_t t = 0; t < targets_.size(); ++t) {
      const std::uint64_t ties_end = t < last.target    ? std::numeric_limits<std::uint64_t>::max()
                                     : t == last.target ? last.end
                                                        : 0;
      const PruneTarget& target = targets_[t];
      backend_.for_each(target.items.size,
                        WriteMask{target.items, last.key, ties_end, target.mask});
    }
  }

private:
  static constexpr int kDigit = 13;
  static constexpr std::uint64_t kFew = 1 << 16;  // scores that the host may settle

  // The last score to be kept: of its equals those in targets before `target` are kept, and there
  // those before item `end`.
  struct Last {
    std::uint64_t key;
    std::size_t target;
    std::uint64_t end;
  };

  struct Candidate {
    std::uint64_t key;
    std::size_t target;
    std::uint64_t item;
  };

  Last find_last() {
    KeyPrefix prefix;
    std::uint64_t left = keep_;  // of the scores that begin with the prefix
    for (;;) {
      const int width = std::min(kDigit, prefix.shift);
      const std::vector<std::uint64_t> counts = count_digits(prefix, width);
      if (keep_ == 0) return {std::numeric_limits<std::uint64_t>::max(), 0, 0};
      std::size_t digit = counts.size() - 1;
      while (counts[digit] < left) left -= counts[digit--];
      prefix = {prefix.bits << width | digit, prefix.shift - width};
      digit_ = digit;
      if (counts[digit] == left)  // all of them
        return {prefix.bits << prefix.shift, targets_.size(), 0};
      if (counts[digit] <= kFew) return settle(prefix, left);
      if (prefix.shift == 0) return nth_tie(prefix, left);
    }
  }

  std::vector<std::uint64_t> count_digits(const KeyPrefix& prefix, int width) {
    const std::uint32_t n_bins = std::uint32_t{1} << width;
    std::vector<std::uint64_t> total(n_bins, 0);
    counts_.clear();
    for (const PruneTarget& target : targets_) {
      auto errors = backend_.template array<ScoreErrors>(1);
      backend_.upload(std::vector<ScoreErrors>(1), errors.data());
      counts_.push_back(backend_.histogram(
          target.items.size, n_bins,
          ScoreDigit{target.items, target.first_index, prefix, width, errors.data()}));
      throw_if_bad(backend_.download(errors.data(), 1).front(), target.batch);
      for (std::uint32_t bin = 0; bin < n_bins; ++bin) total[bin] += counts_.back()[bin];
    }
    return total;
  }

  auto select(std::size_t t, const KeyPrefix& prefix) {
    auto indices = backend_.template array<std::uint32_t>(counts_[t][digit_]);
    const PruneTarget& target = targets_[t];
    backend_.select(target.items.size, HasPrefix{target.items, prefix}, indices.data());
    return indices;
  }

  Last settle(const KeyPrefix& prefix, std::uint64_t left) {
    std::vector<Candidate> candidates;
    for (std::size_t t = 0; t < targets_.size(); ++t) {
      const std::uint64_t n = counts_[t][digit_];
      if (n == 0) continue;
      const auto indices = select(t, prefix);
      auto keys = backend_.template array<std::uint64_t>(n);
      backend_.for_each(n, TakeScore{targets_[t].items, indices.data(), keys.data()});
      const std::vector<std::uint32_t> items = backend_.download(indices.data(), n);
      const std::vector<std::uint64_t> scores = backend_.download(keys.data(), n);
      for (std::uint64_t i = 0; i < n; ++i) candidates.push_back({scores[i], t, items[i]});
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.key > b.key; });
    const Candidate& last = candidates[left - 1];
    return {last.key, last.target, last.item + 1};
  }

  // Of many equal scores the host sees none but the last one kept.
  Last nth_tie(const KeyPrefix& prefix, std::uint64_t left) {
    std::size_t t = 0;
    while (counts_[t][digit_] < left) left -= counts_[t++][digit_];
    const auto indices = select(t, prefix);
    return {prefix.bits, t, backend_.download(indices.data() + (left - 1), 1).front() + 1u};
  }

  Backend& backend_;
  const std::vector<PruneTarget>& targets_;
  std::uint64_t keep_;
  std::vector<std::vector<std::uint64_t>> counts_;  // of each target, by digit
  std::size_t digit_ = 0;
};

template <class Backend>
void keep_largest(Backend& backend, const std::vector<PruneTarget>& targets, std::uint64_t keep) {
  Selection<Backend>(backend, targets, keep).run();
}

// Keeps `keep` items of every row: `row_length` consecutive ones. Rows are sorted together, by
// score and then, stably, by row.
template <class Backend>
class RowSelection {
public:
  RowSelection(Backend& backend, const Batch& batch, std::uint64_t row_length, std::uint64_t keep,
               bool* mask)
      : backend_(backend), batch_(batch), row_length_(row_length), keep_(keep), mask_(mask) {}

  void run() {
    constexpr std::uint64_t kMostAtOnce = 1 << 26;  // bounds what the sorts need
    const auto total = static_cast<std::uint64_t>(batch_.n_problems * batch_.n_items);
    const std::uint64_t step = std::max(std::uint64_t{1}, kMostAtOnce / row_length_) * row_length_;
    for (std::uint64_t first = 0; first < total; first += step)
      select(first, std::min(step, total - first));
  }

private:
  void select(std::uint64_t first, std::uint64_t n) {
    auto errors = backend_.template array<ScoreErrors>(1);
    backend_.upload(std::vector<ScoreErrors>(1), errors.data());
    auto indices = backend_.template array<std::uint32_t>(n);
    {
      auto keys = backend_.template array<std::uint64_t>(n);
      backend_.for_each(n, LoadScore{batch_, first, errors.data(), keys.data(), indices.data()});
      throw_if_bad(backend_.download(errors.data(), 1).front());
      backend_.sort(keys, indices, 0);
    }
    auto rows = backend_.template array<std::uint32_t>(n);
    backend_.for_each(n, LoadRow{row_length_, indices.data(), rows.data()});
    backend_.sort(rows, indices, 0);
    backend_.for_each(n, WriteRowMask{row_length_, keep_, indices.data(), mask_ + first});
  }

  Backend& backend_;
  Batch batch_;
  std::uint64_t row_length_, keep_;
  bool* mask_;
};

inline std::vector<PruneTarget> targets_of(const Batch& batch, bool* mask, std::size_t number = 0) {
  std::vector<PruneTarget> targets;
  for (std::int64_t problem = 0; problem < batch.n_problems; ++problem) {
    const std::int64_t first = problem * batch.n_items;
    targets.push_back(
        {columns_of(batch, problem), mask + first, number, static_cast<std::uint64_t>(first)});
  }
  return targets;
}

// Keeps `keep` items of each problem.
template <class Backend>
void keep_largest_per_problem(Backend& backend, const Batch& batch, std::uint64_t keep,
                              bool* mask) {
  constexpr std::int64_t kLongRow = 1 << 22;  // worth passes of its own
  if (batch.n_problems > 1 && batch.n_items < kLongRow) {
    RowSelection<Backend>(backend, batch, static_cast<std::uint64_t>(batch.n_items), keep, mask)
        .run();
    return;
  }
  for (const PruneTarget& target : targets_of(batch, mask)) keep_largest(backend, {target}, keep);
}

// Keeps `keep` of every `group` consecutive items of each problem.
template <class Backend>
void keep_pattern(Backend& backend, const Batch& batch, std::int64_t keep, std::int64_t group,
                  bool* mask) {
  if (group > KeepOfGroup::kMostInThread) {
    RowSelection<Backend>(backend, batch, static_cast<std::uint64_t>(group),
                          static_cast<std::uint64_t>(keep), mask)
        .run();
    return;
  }
  auto errors = backend.template array<ScoreErrors>(1);
  backend.upload(std::vector<ScoreErrors>(1), errors.data());
  const std::int64_t n_groups = batch.n_problems * batch.n_items / group;
  backend.for_each(static_cast<std::uint64_t>(n_groups),
                   KeepOfGroup{batch, keep, group, errors.data(), mask});
  throw_if_bad(backend.download(errors.data(), 1).front());
}

}  // namespace wkmeans::cuda

#include "cpu/prune/prune.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "cpu/base/interrupt.h"
#include "cpu/prune/scores.h"

namespace wkmeans {
namespace {

// A run of one target's items, the unit of work.
struct Piece {
  std::size_t target;
  std::int64_t begin, end;
};

// The last score to be kept lies between these two, both included.
struct Bracket {
  double low, high;
};

constexpr Bracket kEverything{0.0, std::numeric_limits<double>::infinity()};

struct Candidate {
  double score;
  std::int64_t item;
};

// What one sweep found in one piece.
struct PieceCensus {
  std::int64_t above = 0;  // scores over bracket.high
  std::int64_t at_high = 0;
  std::int64_t at_low = 0;
  std::vector<Candidate> between;
};

// Marks scores from bracket.high on, counts the ties at both ends and flags what lies between them.
struct CensusKernel {
  static WKM_ALWAYS_INLINE void run(const double* score, std::int64_t count, Bracket bracket,
                                    bool* mask, std::uint8_t* is_between, PieceCensus* census) {
    std::int64_t above = 0;
    std::int64_t at_high = 0;
    std::int64_t at_low = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      above += score[i] > bracket.high;
      at_high += score[i] == bracket.high;
      at_low += score[i] == bracket.low;
    }
    for (std::int64_t i = 0; i < count; ++i) mask[i] = score[i] >= bracket.high;
    for (std::int64_t i = 0; i < count; ++i) {
      is_between[i] =
          static_cast<std::uint8_t>((score[i] > bracket.low) & (score[i] < bracket.high));
    }
    census->above += above;
    census->at_high += at_high;
    census->at_low += at_low;
  }
};

class Selection {
public:
  Selection(const std::vector<MaskTarget>& targets, std::int64_t keep, const Parallel& parallel)
      : targets_(targets), keep_(keep), parallel_(parallel) {
    for (std::size_t t = 0; t < targets.size(); ++t) {
      for (std::int64_t begin = 0; begin < targets[t].n_items(); begin += kPiece) {
        pieces_.push_back({t, begin, std::min(targets[t].n_items(), begin + kPiece)});
      }
      n_items_ += targets[t].n_items();
    }
    census_.resize(pieces_.size());
  }

  void run() {
    Bracket bracket = bracket_from_sample();
    while (!try_bracket(bracket)) bracket = kEverything;
  }

private:
  static constexpr std::int64_t kPiece = 1 << 15;
  static constexpr std::int64_t kFlagsAtOnce = sizeof(std::uint64_t);
  static constexpr std::int64_t kSample = 1 << 14;

  // A bracket that holds the last kept score unless the sample is off by four standard deviations.
  // Which items are sampled depends on their number alone; the jitter keeps regular patterns from
  // falling in step with the sample.
  Bracket bracket_from_sample() {
    if (n_items_ <= 4 * kSample) return kEverything;
    std::vector<double> sample;
    Scorer scorer;
    std::uint64_t state = 0;
    const std::int64_t stride = n_items_ / kSample;
    std::int64_t first_of_target = 0;
    std::int64_t at = 0;
    for (const MaskTarget& target : targets_) {
      for (; at < first_of_target + target.n_items(); at += stride) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const std::int64_t last = first_of_target + target.n_items() - 1;
        const std::int64_t jittered =
            at + static_cast<std::int64_t>((state >> 33) % static_cast<std::uint64_t>(stride));
        sample.push_back(*scorer.score(target.problems, target.problem,
                                       std::min(jittered, last) - first_of_target, 1));
      }
      first_of_target += target.n_items();
    }
    std::sort(sample.begin(), sample.end(), std::greater<>());
    const double size = static_cast<double>(sample.size());
    const double rank = size * static_cast<double>(keep_) / static_cast<double>(n_items_);
    const double margin = 4.0 * std::sqrt(size * 0.25) + 1.0;
    const auto at_rank = [&](double r) { return sample[static_cast<std::size_t>(r)]; };
    return {rank + margin < size ? at_rank(rank + margin) : kEverything.low,
            rank - margin >= 0.0 ? at_rank(rank - margin) : kEverything.high};
  }

  // Marks what lies at or over the bracket, then settles what lies in it. False if the bracket
  // misses.
  bool try_bracket(const Bracket& bracket) {
    sweep(bracket);
    std::int64_t above = 0;
    std::int64_t at_high = 0;
    std::int64_t at_low = 0;
    std::int64_t n_between = 0;
    for (const PieceCensus& census : census_) {
      above += census.above;
      at_high += census.at_high;
      at_low += bracket.low < bracket.high ? census.at_low : 0;
      n_between += static_cast<std::int64_t>(census.between.size());
    }
    const std::int64_t left_for_high = keep_ - above;
    const std::int64_t left_for_between = left_for_high - at_high;
    const std::int64_t left_for_low = left_for_between - n_between;
    if (left_for_high < 0 || left_for_low > at_low) return false;
    if (left_for_between < 0) {
      keep_first_at(bracket.high, left_for_high, &PieceCensus::at_high);
    } else {
      keep_largest_between(std::min(left_for_between, n_between), n_between);
      if (left_for_low > 0) keep_first_at(bracket.low, left_for_low, &PieceCensus::at_low);
    }
    return true;
  }

  void keep_largest_between(std::int64_t count, std::int64_t n_between) {
    if (count == 0) return;
    std::vector<double> scores;
    scores.reserve(static_cast<std::size_t>(n_between));
    for (const PieceCensus& census : census_) {
      for (const Candidate& candidate : census.between) scores.push_back(candidate.score);
    }
    const auto last = scores.begin() + (count - 1);
    std::nth_element(scores.begin(), last, scores.end(), std::greater<>());
    const double threshold = *last;
    std::int64_t ties = 1 + std::count(scores.begin(), last, threshold);
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      bool* mask = targets_[pieces_[p].target].mask;
      for (const Candidate& candidate : census_[p].between) {
        if (candidate.score > threshold || (candidate.score == threshold && ties-- > 0)) {
          mask[candidate.item] = true;
        }
      }
    }
  }

  void sweep(const Bracket& bracket) {
    parallel_.run_with_workers(static_cast<std::int64_t>(pieces_.size()), [&] {
      return [&, scorer = Scorer{}](std::int64_t number) mutable {
        const auto p = static_cast<std::size_t>(number);
        const Piece& piece = pieces_[p];
        census_[p] = {};
        census_[p].between.reserve(bracket.high < kEverything.high ? kPiece / 16 : 0);
        for (std::int64_t begin = piece.begin; begin < piece.end; begin += Scorer::kRun) {
          sweep_run(bracket, p, begin, std::min(Scorer::kRun, piece.end - begin), scorer);
        }
      };
    });
  }

  void sweep_run(const Bracket& bracket, std::size_t p, std::int64_t begin, std::int64_t count,
                 Scorer& scorer) {
    const MaskTarget& target = targets_[pieces_[p].target];
    const double* score = scorer.score(target.problems, target.problem, begin, count);
    std::uint8_t is_between[Scorer::kRun + kFlagsAtOnce] = {};
    dispatch<CensusKernel>(score, count, bracket, target.mask + begin, is_between, &census_[p]);
    Candidate found[Scorer::kRun];
    std::size_t n_found = 0;
    for (std::int64_t first = 0; first < count; first += kFlagsAtOnce) {
      std::uint64_t flags;  // most runs of eight hold none
      std::memcpy(&flags, is_between + first, kFlagsAtOnce);
      if (flags == 0) continue;
      for (std::int64_t i = first; i < std::min(first + kFlagsAtOnce, count); ++i) {
        found[n_found] = {score[i], begin + i};  // overwritten by the next one unless it counts
        n_found += is_between[i];
      }
    }
    census_[p].between.insert(census_[p].between.end(), found, found + n_found);
  }

  // Of the items that score exactly `tied`, keeps the first `count` and drops the rest.
  void keep_first_at(double tied, std::int64_t count, std::int64_t PieceCensus::* n_tied) {
    std::vector<std::int64_t> quota(pieces_.size());
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      quota[p] = std::min(count, census_[p].*n_tied);
      count -= quota[p];
    }
    parallel_.run_with_workers(static_cast<std::int64_t>(pieces_.size()), [&] {
      return [&, scorer = Scorer{}](std::int64_t number) mutable {
        const auto p = static_cast<std::size_t>(number);
        if (census_[p].*n_tied == 0) return;
        const Piece& piece = pieces_[p];
        const MaskTarget& target = targets_[piece.target];
        const std::int64_t n = piece.end - piece.begin;
        const double* score = scorer.score(target.problems, target.problem, piece.begin, n);
        std::int64_t left = quota[p];
        for (std::int64_t i = 0; i < n; ++i) {
          if (score[i] == tied) target.mask[piece.begin + i] = left-- > 0;
        }
      };
    });
  }

  const std::vector<MaskTarget>& targets_;
  std::int64_t keep_;
  const Parallel& parallel_;
  std::int64_t n_items_ = 0;
  std::vector<Piece> pieces_;
  std::vector<PieceCensus> census_;
};

}  // namespace

void keep_largest(const std::vector<MaskTarget>& targets, std::int64_t keep,
                  const Parallel& parallel) {
  Selection(targets, keep, parallel).run();
}

void keep_largest_per_problem(const Problems& problems, std::int64_t keep, int n_threads,
                              bool* mask) {
  const std::int64_t n_problems = problems.weights->n_problems();
  const auto prune_one = [&](std::int64_t problem, const Parallel& parallel) {
    keep_largest({{problems, problem, mask + problem * problems.weights->n_items()}}, keep,
                 parallel);
  };
  if (n_problems >= n_threads) {
    Parallel(n_threads).run(n_problems,
                            [&](std::int64_t problem) { prune_one(problem, Parallel(1)); });
  } else {
    for (std::int64_t problem = 0; problem < n_problems; ++problem)
      prune_one(problem, Parallel(n_threads));
  }
}

void keep_pattern(const Problems& problems, std::int64_t keep, std::int64_t group, int n_threads,
                  bool* mask) {
  const std::int64_t n_items = problems.weights->n_items();
  constexpr std::int64_t kLongGroup = 256;
  const std::int64_t groups_per_run = std::max<std::int64_t>(1, (1 << 13) / group);
  const std::int64_t run_size = groups_per_run * group;
  const std::int64_t runs_per_problem = (n_items + run_size - 1) / run_size;
  Parallel(n_threads).run_with_workers(problems.weights->n_problems() * runs_per_problem, [&] {
    return [&, scorer = Scorer{}](std::int64_t task) mutable {
      const std::int64_t problem = task / runs_per_problem;
      const std::int64_t begin = (task % runs_per_problem) * run_size;
      const std::int64_t count = std::min(run_size, n_items - begin);
      const double* score = scorer.score(problems, problem, begin, count);
      bool* out = mask + problem * n_items + begin;
      for (std::int64_t first = 0; first < count; first += group) {
        for (std::int64_t i = first; i < first + group; ++i) {
          if (group >= kLongGroup) stop_if_interrupted_after(static_cast<std::size_t>(group));
          std::int64_t n_better = 0;
          for (std::int64_t j = first; j < i; ++j) n_better += score[j] >= score[i];
          for (std::int64_t j = i + 1; j < first + group; ++j) n_better += score[j] > score[i];
          out[i] = n_better < keep;
        }
      }
    };
  });
}

}  // namespace wkmeans

#pragma once

#include <cstdint>
#include <vector>

namespace wkmeans {

// Asymmetric numeral systems as docs/format.md has them: a state of 64 bits over a stack of 32-bit
// words; what is coded owns a share of 2^kAnsBits.
constexpr int kAnsBits = 24;
constexpr std::uint64_t kAnsTotal = std::uint64_t{1} << kAnsBits;

struct AnsShare {
  std::uint32_t start;
  std::uint32_t width;  // at least 1; 2^24 for what is certain, which takes no bits
};

class AnsEncoder {
public:
  // Last in, first out: the decoder meets first what is pushed last.
  void push(AnsShare share) {
    if (state_ >> (64 - kAnsBits) >= share.width) {
      words_.push_back(static_cast<std::uint32_t>(state_));
      state_ >>= 32;
    }
    // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a width is at least 1.
    state_ = (state_ / share.width << kAnsBits) + state_ % share.width + share.start;
  }

  // The words, the state among them; the last is not 0.
  std::vector<std::uint32_t> finish() {
    for (; state_ != 0; state_ >>= 32) words_.push_back(static_cast<std::uint32_t>(state_));
    return std::move(words_);
  }

private:
  std::uint64_t state_ = 0;
  std::vector<std::uint32_t> words_;
};

// Any words can be decoded, into something or other, without leaving [begin, end).
class AnsDecoder {
public:
  AnsDecoder(const std::uint32_t* begin, const std::uint32_t* end)
      : begin_(begin), next_(end), is_sound_(begin == end || end[-1] != 0) {
    refill();
    refill();
  }

  std::uint32_t quantile() const { return static_cast<std::uint32_t>(state_ % kAnsTotal); }

  // Takes off the share that holds `quantile()`.
  void pop(std::uint32_t quantile, AnsShare share) {
    state_ = (state_ >> kAnsBits) * share.width + (quantile - share.start);
    refill();
  }

  // Whether nothing is left, as where all that was pushed has been popped.
  bool is_at_end() const { return is_sound_ && state_ == 0 && next_ == begin_; }

private:
  void refill() {
    if (state_ >> 32 == 0 && next_ != begin_) state_ = state_ << 32 | *--next_;
  }

  const std::uint32_t* begin_;
  const std::uint32_t* next_;
  std::uint64_t state_ = 0;
  bool is_sound_;
};

}  // namespace wkmeans

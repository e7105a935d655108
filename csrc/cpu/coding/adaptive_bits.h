#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cpu/coding/ans.h"

namespace wkmeans {

// Probabilities of bits that are learnt as bits come, in whole numbers alone: encoder and decoder
// go through the same ones on every machine. docs/format.md says the same in words.

constexpr int kLogitLimit = 2047;

class LogitTables {
public:
  LogitTables();

  // 4096 / (1 + exp(-logit / 256)), the nearest whole number from 1 to 4095.
  int probability(int logit) const {
    return probabilities_[static_cast<std::size_t>(std::int64_t{logit} + kLogitLimit)];
  }
  // The inverse: 256 ln(p / (4096 - p)), the nearest whole number, for p from 1 to 4095.
  int logit(int probability) const { return logits_[static_cast<std::size_t>(probability)]; }

private:
  std::array<std::int16_t, 2 * kLogitLimit + 1> probabilities_;
  std::array<std::int16_t, 4096> logits_;
};

const LogitTables& logit_tables();

// How likely a bit is 1, in 65536ths: a mean that forgets slowly once it has seen enough.
class BitCounter {
public:
  int probability() const { return probability_ >> 4 < 1 ? 1 : probability_ >> 4; }  // of 4096
  void update(bool bit) {
    const std::int32_t difference = (bit ? 65535 : 0) - probability_;
    probability_ += difference * 2 / (2 * n_ + 3);
    if (n_ < kMemory) ++n_;
  }

private:
  static constexpr std::int32_t kMemory = 254;
  std::int32_t probability_ = 32768;
  std::int32_t n_ = 0;
};

// One probability out of those of several contexts: logits are weighted, and weights learnt.
template <int Inputs>
class BitMixer {
public:
  BitMixer() { weights_.fill(kOne / Inputs); }

  // The share of 4096 that a 1 has, at least 1 and at most 4095.
  int mix(const std::array<BitCounter*, Inputs>& counters, const LogitTables& tables) {
    std::int64_t sum = 0;
    for (int i = 0; i < Inputs; ++i) {
      logits_[i] = tables.logit(counters[i]->probability());
      sum += std::int64_t{weights_[i]} * logits_[i];
    }
    const std::int64_t logit = sum / kOne;
    probability_ = tables.probability(static_cast<int>(logit < -kLogitLimit  ? -kLogitLimit
                                                       : logit > kLogitLimit ? kLogitLimit
                                                                             : logit));
    return probability_;
  }

  void update(bool bit) {
    const std::int32_t error = (bit ? 4096 : 0) - probability_;
    for (int i = 0; i < Inputs; ++i) {
      const std::int32_t weight = weights_[i] + error * logits_[i] * kStep / 1024;
      weights_[i] = weight < -kMost ? -kMost : weight > kMost ? kMost : weight;
    }
  }

private:
  static constexpr std::int32_t kStep = 3;
  static constexpr std::int32_t kOne = 1 << 20;
  static constexpr std::int32_t kMost = 8 * kOne;
  std::array<std::int32_t, Inputs> weights_;
  std::array<std::int32_t, Inputs> logits_{};
  int probability_ = 2048;
};

// Where bits go: kept until all are known, since the coder takes the last one first.
class BitSink {
public:
  bool code(bool bit, int probability) {
    shares_.push_back(share_of(bit, probability));
    return bit;
  }

  std::vector<std::uint32_t> words() const {
    AnsEncoder encoder;
    for (auto share = shares_.rbegin(); share != shares_.rend(); ++share) encoder.push(*share);
    return encoder.finish();
  }

  // Of 2^24, ones below zeros.
  static AnsShare share_of(bool bit, int probability) {
    const auto ones = static_cast<std::uint32_t>(probability) << (kAnsBits - 12);
    return bit ? AnsShare{0, ones} : AnsShare{ones, static_cast<std::uint32_t>(kAnsTotal) - ones};
  }

private:
  std::vector<AnsShare> shares_;
};

// Where they come from.
class BitSource {
public:
  explicit BitSource(AnsDecoder decoder) : decoder_(decoder) {}

  bool code(bool /*unknown*/, int probability) {
    const std::uint32_t quantile = decoder_.quantile();
    const bool bit = quantile >> (kAnsBits - 12) < static_cast<std::uint32_t>(probability);
    decoder_.pop(quantile, BitSink::share_of(bit, probability));
    return bit;
  }

  bool is_at_end() const { return decoder_.is_at_end(); }

private:
  AnsDecoder decoder_;
};

}  // namespace wkmeans

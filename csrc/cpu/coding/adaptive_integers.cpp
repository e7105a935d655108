#include "cpu/coding/adaptive_integers.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "cpu/coding/adaptive_bits.h"
#include "math/trellis.h"

namespace wkmeans {
namespace {

constexpr int kSteps = 16;    // questions about a magnitude: is it above 0, 1, ..., 15
constexpr int kOddSteps = 2;  // of them, those with probabilities of their own for odd integers
constexpr int kQuestions = kSteps + kOddSteps;
constexpr int kMostBits = 20;

// The mean magnitude of a line's integers so far, in 65536ths; it forgets what is long ago.
class Activity {
public:
  // 0 to 23: two for each octave, from 1/64 on.
  int bucket() const {
    const std::int32_t x = (mean_ >> 8) + 5;
    int octave = 2;
    while (x >> (octave + 1) != 0) ++octave;
    return std::min(2 * octave + (x >> (octave - 1) & 1) - 4, 23);
  }
  void see(std::int32_t magnitude, std::int32_t memory) {
    mean_ += (std::min(magnitude, 255) * 65536 - mean_) / (n_ + 2);
    if (n_ < memory) ++n_;
  }

private:
  std::int32_t mean_ = 19661;
  std::int32_t n_ = 0;
};

constexpr std::int32_t kRowMemory = 62;
constexpr std::int32_t kColumnMemory = 510;

// Bits: BitSink, which is told, or BitSource, which tells. On a trellis the parity of an integer is
// known, and its magnitude is what halving leaves; where integers are free, it is the whole.
template <class Bits>
class IntegerCoder {
public:
  IntegerCoder(const SpreadMatrix& matrix, Bits& bits)
      : matrix_(matrix),
        bits_(bits),
        columns_(static_cast<std::size_t>(matrix.columns)),
        states_(columns_.size(), 0),
        halved_(matrix.block > 0 ? 1 : 0) {
    constexpr std::array<std::size_t, kContexts> kSizes{64, std::size_t{24} * 24,
                                                        std::size_t{24} * 18};
    for (std::size_t i = 0; i < kContexts; ++i) counters_[i].resize(kSizes[i] * kQuestions);
  }

  // In place; where integers are not known yet, whatever stands there.
  void run(std::int32_t* integers) {
    const std::int64_t columns = matrix_.columns;
    for (std::int64_t row = 0; row < matrix_.rows; ++row) {
      if (halved_ != 0 && row % matrix_.block == 0) std::fill(states_.begin(), states_.end(), 0);
      Activity activity;
      std::int32_t* const line = integers + row * columns;
      for (std::int64_t column = 0; column < columns; ++column) {
        Activity& of_column = columns_[static_cast<std::size_t>(column)];
        const auto magnitude_at = [&](std::int64_t r, std::int64_t c) {
          return r < 0 || c < 0 ? 0 : std::abs(integers[r * columns + c]) >> halved_;
        };
        const int near = std::min(magnitude_at(row, column - 1), 2) * 3 +
                         std::min(magnitude_at(row - 1, column), 2) +
                         std::min(magnitude_at(row, column - 2), 1) * 9;
        const int spread = std::min((matrix_.of_row[row] + matrix_.of_column[column]) / 8, 63);
        const int bucket = of_column.bucket();
        contexts_ = {spread, bucket * 24 + activity.bucket(), bucket * 18 + near};
        std::uint8_t& state = states_[static_cast<std::size_t>(column)];
        line[column] = code(line[column], halved_ * trellis_parity(state));
        const std::int32_t magnitude = std::abs(line[column]) >> halved_;
        state = static_cast<std::uint8_t>(trellis_next(state, line[column] >> 1 & 1));
        activity.see(magnitude, kRowMemory);
        of_column.see(magnitude, kColumnMemory);
      }
    }
  }

private:
  static constexpr std::size_t kContexts = 3;

  std::int32_t code(std::int32_t integer, int parity) {
    const std::int32_t known = std::abs(integer) >> halved_;
    std::int32_t magnitude = 0;
    while (magnitude < kSteps && learnt(question(magnitude, parity), known > magnitude)) {
      ++magnitude;
    }
    if (magnitude == kSteps) magnitude += rest(known - kSteps);
    const std::int32_t whole = (magnitude << halved_) + parity;
    if (whole == 0) return 0;
    return even(integer < 0) ? -whole : whole;
  }

  static int question(std::int32_t magnitude, int parity) {
    return parity != 0 && magnitude < kOddSteps ? kSteps + magnitude : magnitude;
  }

  bool learnt(int question, bool bit) {
    std::array<BitCounter*, kContexts> counters;
    for (std::size_t i = 0; i < kContexts; ++i) {
      counters[i] = &counters_[i][static_cast<std::size_t>(std::int64_t{contexts_[i]} * kQuestions +
                                                           question)];
    }
    BitMixer<kContexts>& mixer = mixers_[static_cast<std::size_t>(question)];
    bit = bits_.code(bit, mixer.mix(counters, tables_));
    mixer.update(bit);
    for (BitCounter* counter : counters) counter->update(bit);
    return bit;
  }

  bool even(bool bit) { return bits_.code(bit, 2048); }

  // Elias's gamma code of one more: as many ones as bits follow the first, a zero, and those bits.
  std::int32_t rest(std::int32_t excess) {
    const std::uint32_t known = static_cast<std::uint32_t>(excess) + 1;
    int length = 0;
    while (length < kMostBits && even(known >> (length + 1) != 0)) ++length;
    std::uint32_t value = 1;
    for (int i = length - 1; i >= 0; --i)
      value = value << 1 | (even((known >> i & 1) != 0) ? 1 : 0);
    return static_cast<std::int32_t>(value) - 1;
  }

  const SpreadMatrix& matrix_;
  Bits& bits_;
  const LogitTables& tables_ = logit_tables();
  std::vector<Activity> columns_;
  std::vector<std::uint8_t> states_;  // of the trellis, one a column
  int halved_;
  std::array<std::vector<BitCounter>, kContexts> counters_;
  std::array<BitMixer<kContexts>, kQuestions> mixers_;
  std::array<int, kContexts> contexts_{};
};

}  // namespace

std::vector<std::uint32_t> encode_adaptively(const SpreadMatrix& matrix,
                                             const std::int32_t* integers) {
  std::vector<std::int32_t> known(integers, integers + matrix.rows * matrix.columns);
  BitSink bits;
  IntegerCoder<BitSink>(matrix, bits).run(known.data());
  return bits.words();
}

bool decode_adaptively(const SpreadMatrix& matrix, const std::uint32_t* begin,
                       const std::uint32_t* end, std::int32_t* integers) {
  std::fill(integers, integers + matrix.rows * matrix.columns, 0);
  BitSource bits(AnsDecoder(begin, end));
  IntegerCoder<BitSource>(matrix, bits).run(integers);
  return bits.is_at_end();
}

}  // namespace wkmeans

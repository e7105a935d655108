#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "cuda/small_problem.h"

namespace wkmeans::cuda {

// Some item of an operand is not one the objective can take: its index among the batch's items.
class BadValue : public std::invalid_argument {
public:
  BadValue(const char* operand, std::size_t batch, std::uint64_t index)
      : std::invalid_argument(operand), batch_(batch), index_(index) {}
  std::size_t batch() const { return batch_; }  // of those that were given together
  std::uint64_t index() const { return index_; }

private:
  std::size_t batch_;
  std::uint64_t index_;
};

inline void throw_if_bad(const SmallErrors& errors, std::size_t batch = 0) {
  if (errors.weight != SmallErrors::kNone) throw BadValue("weights", batch, errors.weight);
  if (errors.importance != SmallErrors::kNone)
    throw BadValue("importance", batch, errors.importance);
  if (errors.quartic_importance != SmallErrors::kNone)
    throw BadValue("quartic_importance", batch, errors.quartic_importance);
}

}  // namespace wkmeans::cuda

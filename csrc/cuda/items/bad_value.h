#pragma once

#include <cstddef>
#include <stdexcept>

#include "cuda/items/batch.h"

namespace wkmeans::cuda {

// Some item of an operand is not one the objective can take.
class BadValue : public std::invalid_argument {
public:
  BadValue(const char* operand, std::size_t batch)
      : std::invalid_argument(operand), batch_(batch) {}
  std::size_t batch() const { return batch_; }  // of those that were given together

private:
  std::size_t batch_;
};

inline void throw_if_bad(const BadItems& errors, std::size_t batch = 0) {
  if (errors.weight != BadItems::kNone) throw BadValue("weights", batch);
  if (errors.importance != BadItems::kNone) throw BadValue("importance", batch);
  if (errors.quartic_importance != BadItems::kNone) throw BadValue("quartic_importance", batch);
}

}  // namespace wkmeans::cuda

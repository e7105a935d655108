#pragma once

#include <cstdint>

namespace thrust {

template <class Value>
class counting_iterator {
public:
  explicit counting_iterator(Value value) : value_(value) {}
  Value operator*() const { return value_; }
  counting_iterator operator+(std::int64_t n) const {
    return counting_iterator(static_cast<Value>(value_ + static_cast<Value>(n)));
  }
  std::int64_t operator-(const counting_iterator& other) const {
    return static_cast<std::int64_t>(value_) - static_cast<std::int64_t>(other.value_);
  }

private:
  Value value_;
};

}  // namespace thrust

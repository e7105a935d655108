#pragma once

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <type_traits>

#include "cpu/base/buffer.h"

namespace wkmeans {

// Doubles; kept as floats where each of them is one and there are so many that memory counts.
class Column {
public:
  using value_type = double;

  class Iterator {
  public:
    using iterator_category = std::random_access_iterator_tag;
    using value_type = double;
    using difference_type = std::ptrdiff_t;
    using pointer = const double*;
    using reference = double;

    Iterator() = default;
    Iterator(const Column& column, std::size_t at)
        : column_(&column), at_(static_cast<std::ptrdiff_t>(at)) {}

    double operator*() const { return (*column_)[static_cast<std::size_t>(at_)]; }
    double operator[](std::ptrdiff_t n) const { return *(*this + n); }
    Iterator& operator+=(std::ptrdiff_t n) {
      at_ += n;
      return *this;
    }
    Iterator& operator-=(std::ptrdiff_t n) { return *this += -n; }
    Iterator& operator++() { return *this += 1; }
    Iterator& operator--() { return *this += -1; }
    Iterator operator++(int) { return ++*this - 1; }
    Iterator operator--(int) { return --*this + 1; }
    friend Iterator operator+(Iterator it, std::ptrdiff_t n) { return it += n; }
    friend Iterator operator+(std::ptrdiff_t n, Iterator it) { return it += n; }
    friend Iterator operator-(Iterator it, std::ptrdiff_t n) { return it -= n; }
    friend std::ptrdiff_t operator-(Iterator a, Iterator b) { return a.at_ - b.at_; }
    friend bool operator==(Iterator a, Iterator b) { return a.at_ == b.at_; }
    friend bool operator!=(Iterator a, Iterator b) { return a.at_ != b.at_; }
    friend bool operator<(Iterator a, Iterator b) { return a.at_ < b.at_; }
    friend bool operator>(Iterator a, Iterator b) { return a.at_ > b.at_; }
    friend bool operator<=(Iterator a, Iterator b) { return a.at_ <= b.at_; }
    friend bool operator>=(Iterator a, Iterator b) { return a.at_ >= b.at_; }

  private:
    const Column* column_ = nullptr;
    std::ptrdiff_t at_ = 0;
  };

  Column() = default;
  Column(std::initializer_list<double> values) : wide_(values) {}

  std::size_t size() const { return narrow_.empty() ? wide_.size() : narrow_.size(); }
  bool empty() const { return size() == 0; }
  double operator[](std::size_t i) const {
    return narrow_.empty() ? wide_[i] : static_cast<double>(narrow_[i]);
  }
  double front() const { return (*this)[0]; }
  double back() const { return (*this)[size() - 1]; }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }
  bool operator==(const Column& other) const {
    return wide_ == other.wide_ && narrow_ == other.narrow_;
  }

  bool is_narrow() const { return !narrow_.empty(); }
  const double* data() const { return wide_.data(); }     // of a column that is not narrow
  const float* floats() const { return narrow_.data(); }  // of one that is

  // To write to: whatever was kept the other way is dropped.
  template <class Stored>
  Buffer<Stored>& as() {
    if constexpr (std::is_same_v<Stored, float>) {
      if (wide_.capacity() != 0) Buffer<double>().swap(wide_);
      return narrow_;
    } else {
      if (narrow_.capacity() != 0) Buffer<float>().swap(narrow_);
      return wide_;
    }
  }

  void push_back(double value) { as<double>().push_back(value); }
  void pop_back() { as<double>().pop_back(); }
  void clear() { as<double>().clear(); }
  void assign(std::size_t n, double value) { as<double>().assign(n, value); }
  template <class From>
  void assign(From first, From last) {
    as<double>().assign(first, last);
  }

private:
  Buffer<double> wide_;
  Buffer<float> narrow_;  // empty where the values are in wide_
};

}  // namespace wkmeans

#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace wkmeans {

// visit(Label{}): of the type called `label_dtype`, which names k centroids.
template <class Visit>
auto with_label(const std::string& label_dtype, std::size_t k, Visit&& visit) {
  if (label_dtype == "uint8" && k <= 256) return visit(std::uint8_t{});
  if (label_dtype == "uint16") return visit(std::uint16_t{});
  if (label_dtype == "uint32") return visit(std::uint32_t{});
  throw pybind11::value_error("label dtype: " + label_dtype + " cannot name " + std::to_string(k) +
                              " centroids");
}

}  // namespace wkmeans

#include "bind/names.h"

#include <pybind11/pybind11.h>

#include <map>

namespace wkmeans {

namespace py = pybind11;

Solver solver_named(const std::string& name) {
  if (name == "optimal") return Solver::optimal;
  if (name == "lloyd") return Solver::lloyd;
  throw py::value_error("solver: expected 'optimal' or 'lloyd', got '" + name + "'");
}

Init init_named(const std::string& name) {
  if (name == "quantile") return Init::quantile;
  if (name == "linear") return Init::linear;
  if (name == "kmeans++") return Init::kmeans_plus_plus;
  throw py::value_error("init: expected 'quantile', 'linear' or 'kmeans++', got '" + name + "'");
}

CentroidFormat format_named(const std::string& name) {
  static const std::map<std::string, CentroidFormat> formats{
      {"float64", CentroidFormat::float64},
      {"float32", CentroidFormat::float32},
      {"float16", CentroidFormat::float16},
      {"bfloat16", CentroidFormat::bfloat16},
      {"float8_e4m3fn", CentroidFormat::float8_e4m3fn},
      {"float8_e5m2", CentroidFormat::float8_e5m2},
      {"int8", CentroidFormat::int8},
  };
  const auto found = formats.find(name);
  if (found == formats.end())
    throw py::value_error("centroid_dtype: unknown format '" + name + "'");
  return found->second;
}

}  // namespace wkmeans

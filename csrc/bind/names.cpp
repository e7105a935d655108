#include "bind/names.h"

#include <pybind11/pybind11.h>

#include <map>
#include <utility>

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

namespace {

constexpr std::pair<Reading, const char*> kReadings[] = {
    {Reading::counted, "counted"}, {Reading::bucketed, "bucketed"}, {Reading::sorted, "sorted"}};
constexpr std::pair<Search, const char*> kSearches[] = {
    {Search::squeeze, "squeeze"}, {Search::lagrangian, "lagrangian"}, {Search::layers, "layers"}};

template <class Names>
auto named(const Names& names, const std::string& name, const char* what) {
  for (const auto& [value, value_name] : names) {
    if (name == value_name) return value;
  }
  throw py::value_error(std::string(what) + ": unknown way '" + name + "'");
}

template <class Names, class Value>
std::string name_in(const Names& names, Value value) {
  for (const auto& [known, name] : names) {
    if (value == known) return name;
  }
  return "";
}

}  // namespace

Reading reading_named(const std::string& name) { return named(kReadings, name, "reading"); }
Search search_named(const std::string& name) { return named(kSearches, name, "search"); }

std::string name_of(Reading reading) { return name_in(kReadings, reading); }
std::string name_of(Search search) { return name_in(kSearches, search); }

}  // namespace wkmeans

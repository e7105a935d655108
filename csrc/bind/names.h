#pragma once

#include <string>

#include "cpu/cluster/solve.h"

// What the Python layer calls things; ValueError for other names.
namespace wkmeans {

Solver solver_named(const std::string& name);
Init init_named(const std::string& name);
CentroidFormat format_named(const std::string& name);

}  // namespace wkmeans

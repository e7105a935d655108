#pragma once

#include <string>

#include "cpu/cluster/route.h"

// What the Python layer calls things; ValueError for other names.
namespace wkmeans {

Solver solver_named(const std::string& name);
Init init_named(const std::string& name);
CentroidFormat format_named(const std::string& name);
Reading reading_named(const std::string& name);
Search search_named(const std::string& name);

std::string name_of(Reading reading);
std::string name_of(Search search);

}  // namespace wkmeans

#pragma once

#include <vector>

namespace wkmeans {

// Codewords and how many bits each one's code is taken to have.
struct EntropyCodebook {
  std::vector<double> centroids;  // ascending
  std::vector<double> lengths;
};

}  // namespace wkmeans

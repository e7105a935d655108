#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/cluster/cluster.h"
#include "cuda/batch_outputs.h"
#include "cuda/device/device_primitives.h"

// What the binding calls: every pointer is of the current device, everything is queued on one
// stream, and each function returns once its results are determined.
namespace wkmeans::cuda {

void cluster_batch(const Queue& queue, const Batch& batch, const ClusterOptions& options,
                   const BatchOutputs& outputs);

// costs: n_problems x k_max, the optimum for 1..k_max clusters.
void cost_curves(const Queue& queue, const Batch& batch, std::size_t k_max, Zero zero,
                 CentroidFormat format, int n_threads, double* costs);

// As prune.h has it. `masks`: one for each batch, problem-major.
void prune_each(const Queue& queue, const Batch& batch, std::uint64_t keep, bool* mask);
void prune_together(const Queue& queue, const std::vector<Batch>& batches,
                    const std::vector<bool*>& masks, std::uint64_t keep);
void prune_pattern(const Queue& queue, const Batch& batch, std::int64_t keep, std::int64_t group,
                   bool* mask);

}  // namespace wkmeans::cuda

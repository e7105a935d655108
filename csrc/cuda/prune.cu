#include "cuda/prune/prune.h"

#include "cuda/device.h"
#include "cuda/device/device_backend.cuh"
#include "cuda/items/item_count.h"

namespace wkmeans::cuda {

void prune_each(const Queue& queue, const Batch& batch, std::uint64_t keep, bool* mask) {
  check_item_count(batch.n_items);
  DeviceBackend backend(queue);
  keep_largest_per_problem(backend, batch, keep, mask);
}

void prune_together(const Queue& queue, const std::vector<Batch>& batches,
                    const std::vector<bool*>& masks, std::uint64_t keep) {
  for (const Batch& batch : batches) check_item_count(batch.n_items);
  DeviceBackend backend(queue);
  std::vector<PruneTarget> targets;
  for (std::size_t number = 0; number < batches.size(); ++number) {
    const std::vector<PruneTarget> own = targets_of(batches[number], masks[number], number);
    targets.insert(targets.end(), own.begin(), own.end());
  }
  keep_largest(backend, targets, keep);
}

void prune_pattern(const Queue& queue, const Batch& batch, std::int64_t keep, std::int64_t group,
                   bool* mask) {
  check_item_count(batch.n_items);
  DeviceBackend backend(queue);
  keep_pattern(backend, batch, keep, group, mask);
}

}  // namespace wkmeans::cuda

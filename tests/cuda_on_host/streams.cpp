#include <deque>
#include <map>
#include <mutex>

#include "cuda_on_host/runtime.h"

namespace wkmeans::cuda::on_host {
namespace {

std::recursive_mutex mutex;  // the device does one thing at a time
std::map<cudaStream_t, std::deque<std::function<void()>>> queues;
std::vector<std::string> found;
long calls_before_failure = -1;

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

void find(const std::string& fault) {
  const Lock lock(mutex);
  constexpr std::size_t kMost = 20;
  if (found.size() < kMost) found.push_back(fault);
}

const std::vector<std::string>& findings() { return found; }

void forget_findings() {
  const Lock lock(mutex);
  found.clear();
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  const Lock lock(mutex);
  queues[stream].push_back(std::move(work));
}

void wait(cudaStream_t stream) {
  const Lock lock(mutex);
  auto& queue = queues[stream];
  while (!queue.empty()) {
    const std::function<void()> work = std::move(queue.front());
    queue.pop_front();
    work();
  }
}

std::size_t queued(cudaStream_t stream) {
  const Lock lock(mutex);
  return queues[stream].size();
}

void fail_after(long n) {
  const Lock lock(mutex);
  calls_before_failure = n;
}

bool fails() {
  const Lock lock(mutex);
  return calls_before_failure >= 0 && calls_before_failure-- == 0;
}

}  // namespace wkmeans::cuda::on_host

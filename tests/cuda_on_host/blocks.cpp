// Kernels: each thread of a block is a fiber, which runs until its next barrier.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <random>

#include "cuda_on_host/races.h"
#include "cuda_on_host/runtime.h"

namespace wkmeans::cuda::on_host {
namespace {

constexpr std::size_t kStack = 256 << 10;

std::mt19937_64 engine;

// A fiber runs one thread after another, each to its end or next barrier: contexts are made once,
// and switched by jumps, which ask nothing of the kernel of the operating system.
class Fiber {
public:
  Fiber() {
    void* const stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    getcontext(&first_);
    first_.uc_stack.ss_sp = stack;
    first_.uc_stack.ss_size = kStack;
    makecontext(&first_, &Fiber::run_threads, 0);
  }

  void start(const std::function<void()>& thread, const Place& place) {
    thread_ = &thread;
    place_ = place;
    is_done_ = false;
  }

  void resume() {
    running = this;
    begin_thread(place_.thread);
    if (_setjmp(scheduler) == 0) {
      if (!is_entered_) setcontext(&first_);
      _longjmp(here_, 1);
    }
    running = nullptr;
  }

  void wait_at(const Site& site) {
    site_ = site;
    leave();
  }

  bool is_done() const { return is_done_; }
  const Site& site() const { return site_; }
  const Place& place() const { return place_; }

  static Fiber* running;

private:
  static void run_threads() {
    Fiber& self = *running;
    self.is_entered_ = true;
    for (;;) {
      (*self.thread_)();
      self.is_done_ = true;
      self.leave();
    }
  }

  void leave() {
    if (_setjmp(here_) == 0) _longjmp(scheduler, 1);
  }

  static jmp_buf scheduler;

  ucontext_t first_{};
  jmp_buf here_{};
  bool is_entered_ = false;
  bool is_done_ = true;
  const std::function<void()>* thread_ = nullptr;
  Place place_{};
  Site site_{};
};

Fiber* Fiber::running = nullptr;
jmp_buf Fiber::scheduler;

std::vector<std::unique_ptr<Fiber>> fibers;
std::map<const void*, std::size_t> allowed_shared_bytes;

std::string text_of(const Site& site) {
  return std::string(site.function) + ", line " + std::to_string(site.line);
}

void check_meeting(const std::vector<Fiber*>& waiting, std::size_t n_before) {
  if (waiting.empty()) return;
  const Site& first = waiting.front()->site();
  if (waiting.size() != n_before) {
    find("divergence: " + std::to_string(waiting.size()) + " of " + std::to_string(n_before) +
         " threads wait at a barrier that the others never reach: " + text_of(first));
  }
  for (const Fiber* fiber : waiting) {
    if (fiber->site() == first) continue;
    find("divergence: threads wait at " + text_of(first) + " and at " + text_of(fiber->site()));
    return;
  }
}

void run_block(const Launch& launch, const std::function<void()>& thread, const Place& block) {
  begin_block();
  while (fibers.size() < launch.n_threads) fibers.push_back(std::make_unique<Fiber>());
  std::vector<Fiber*> ready;
  for (unsigned t = 0; t < launch.n_threads; ++t) {
    Place place = block;
    place.thread = t;
    fibers[t]->start(thread, place);
    ready.push_back(fibers[t].get());
  }
  while (!ready.empty()) {
    std::shuffle(ready.begin(), ready.end(), engine);
    for (Fiber* fiber : ready) fiber->resume();
    std::vector<Fiber*> waiting;
    for (Fiber* fiber : ready) {
      if (!fiber->is_done()) waiting.push_back(fiber);
    }
    check_meeting(waiting, ready.size());
    ready.swap(waiting);
    begin_epoch();
  }
}

// Shared memory is as large as was asked for, and what lies behind it stays as it is.
class SharedMemory {
public:
  explicit SharedMemory(std::size_t size) : end_(shared_memory() + size) {
    fill_with_garbage(shared_memory(), size + kGuard);
  }
  void check() const {
    for (std::size_t i = 1; i < kGuard; ++i) {
      if (end_[i] != end_[0]) return find("a write beyond the end of shared memory");
    }
  }

private:
  static constexpr std::size_t kGuard = 64;
  const std::byte* end_;
};

void run(const Launch& launch, const std::function<void()>& thread) {
  begin_launch();
  std::vector<Place> blocks;
  for (unsigned slice = 0; slice < launch.grid.y; ++slice) {
    for (unsigned block = 0; block < launch.grid.x; ++block)
      blocks.push_back({0, launch.n_threads, block, launch.grid.x, slice});
  }
  std::shuffle(blocks.begin(), blocks.end(), engine);
  for (const Place& block : blocks) {
    const SharedMemory memory(launch.shared_bytes);
    run_block(launch, thread, block);
    memory.check();
  }
}

bool is_possible(const Launch& launch) {
  const auto allowed = allowed_shared_bytes.find(launch.kernel);
  const std::size_t most_shared =
      allowed == allowed_shared_bytes.end() ? kAllowedSharedBytes : allowed->second;
  constexpr unsigned kMostThreads = 1024;
  constexpr unsigned kMostSlices = 65535;
  return launch.grid.x > 0 && launch.grid.x <= 0x7fffffff && launch.grid.y > 0 &&
         launch.grid.y <= kMostSlices && launch.grid.z == 1 && launch.n_threads > 0 &&
         launch.n_threads <= kMostThreads &&
         launch.shared_bytes <= std::max(most_shared, kAllowedSharedBytes);
}

}  // namespace

int device_of_last_launch = -1;

void launch(const Launch& launch, std::function<void()> thread) {
  device_of_last_launch = current_device;
  if (fails()) {
    leave_error(cudaErrorLaunchFailure);
  } else if (!is_possible(launch)) {
    find("a launch that no device would accept");
    leave_error(cudaErrorInvalidConfiguration);
  } else {
    enqueue(launch.stream, [launch, thread = std::move(thread)] { run(launch, thread); });
  }
}

void allow_shared_bytes(const void* kernel, std::size_t most) {
  allowed_shared_bytes[kernel] = most;
}

Place place() { return Fiber::running->place(); }

std::byte* shared_memory() { return reinterpret_cast<std::byte*>(watched_memory().begin); }

void barrier(const Site& site) { Fiber::running->wait_at(site); }

void for_each_index(std::uint64_t n, const std::function<void(std::uint64_t)>& f) {
  begin_launch();
  begin_block();
  // By strides that have no factor in common with n.
  std::uint64_t step = engine() % n | 1;
  while (std::gcd(step, n) != 1) ++step;
  std::uint64_t i = engine() % n;
  for (std::uint64_t count = 0; count < n; ++count, i = (i + step) % n) {
    begin_thread(static_cast<std::uint32_t>(i));
    f(i);
  }
  begin_epoch();
}

}  // namespace wkmeans::cuda::on_host

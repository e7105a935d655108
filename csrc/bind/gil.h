#pragma once

#include <pybind11/pybind11.h>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include <chrono>
#include <thread>

namespace wkmeans {

// Before Python 3.14 a thread that takes the GIL of an interpreter that is ending, as a daemon
// thread's call may, is made to exit: glibc unwinds its stack, and a destructor on the way, being
// noexcept, aborts the process. Here such a thread rests until the process is gone, as later
// Pythons let it.
template <class Take>
void take_gil_or_rest(Take&& take) {
#if defined(__GLIBCXX__)
  try {
    take();
  } catch (const abi::__forced_unwind&) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  take();
#endif
}

// While one lives its thread does without the GIL; every Python object must have been read by now.
class WithoutGil {
public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    take_gil_or_rest([this] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

private:
  PyThreadState* const state_;
};

// While one lives its thread, which did without, has the GIL.
class WithGil {
public:
  WithGil() {
    take_gil_or_rest([this] { state_ = PyGILState_Ensure(); });
  }
  ~WithGil() { PyGILState_Release(state_); }
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;

private:
  PyGILState_STATE state_{};
};

}  // namespace wkmeans

#include "bind/interruptible.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include <atomic>

namespace wkmeans {

namespace py = pybind11;

namespace {

std::atomic<unsigned long> main_thread_ident{0};

}  // namespace

// Asked of `threading` once, as no Python code may run here: a thread that outlives the interpreter
// ends where such code waits for the GIL, and what it would unwind is C++.
bool is_main_thread() { return PyThread_get_thread_ident() == main_thread_ident; }

void remember_main_thread() {
  const py::object main = py::module_::import("threading").attr("main_thread")();
  main_thread_ident = py::cast<unsigned long>(main.attr("ident"));
#if defined(__unix__) || defined(__APPLE__)
  // The thread that forks is the child's only one.
  pthread_atfork(nullptr, nullptr, [] { main_thread_ident = PyThread_get_thread_ident(); });
#endif
}

bool signal_has_raised() {
  const WithGil acquire;
  return PyErr_CheckSignals() != 0;
}

}  // namespace wkmeans

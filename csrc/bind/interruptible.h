#pragma once

#include <pybind11/pybind11.h>

#include "bind/gil.h"
#include "cpu/base/interrupt.h"

namespace wkmeans {

// Whether the interpreter's main thread, the only one that signals' handlers run in, is calling.
bool is_main_thread();

// Called once, as the module is imported.
void remember_main_thread();

// Runs the handlers of signals that have come in; whether one of them has raised.
bool signal_has_raised();

// Runs `work` without the GIL; every Python object must have been read by now. What a signal's
// handler raises meanwhile, a KeyboardInterrupt as a rule, ends the work and is raised here.
template <class Work>
void run_interruptibly(Work&& work) {
  if (!is_main_thread()) {
    const WithoutGil release;
    work();
    return;
  }
  const Interruption interruption(&signal_has_raised);
  try {
    const WithoutGil release;
    work();
  } catch (...) {
    if (interruption.is_heard()) throw pybind11::error_already_set();
    throw;
  }
  if (interruption.is_heard()) throw pybind11::error_already_set();
}

}  // namespace wkmeans

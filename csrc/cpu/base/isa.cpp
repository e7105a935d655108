#include "cpu/base/isa.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace wkmeans {
namespace {

Isa widest_isa() {
#if WKM_X86_DISPATCH
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return Isa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa chosen_isa() {
  const Isa widest = widest_isa();
  const char* wish = std::getenv("WKMEANS_ISA");
  if (!wish) return widest;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::strcmp(wish, name_of(isa)) == 0 && isa <= widest) return isa;
  }
  return widest;
}

}  // namespace

Isa active_isa() {
  static const Isa isa = chosen_isa();
  return isa;
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

}  // namespace wkmeans

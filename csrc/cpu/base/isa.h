#pragma once

namespace wkmeans {

enum class Isa { baseline, avx2, avx512 };

// The widest instruction set that this processor has, or the narrower one that the environment
// variable WKMEANS_ISA (baseline, avx2, avx512) asks for. Decided once, at the first call.
Isa active_isa();
const char* name_of(Isa isa);

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define WKM_X86_DISPATCH 1
#else
#define WKM_X86_DISPATCH 0
#endif

// To an analyser that follows every path, a kernel is the same under every instruction set:
// WKM_ONE_ISA shows it once.
#if WKM_X86_DISPATCH && !defined(WKM_ONE_ISA)
#define WKM_DISPATCH_IS_WHOLE 1
#else
#define WKM_DISPATCH_IS_WHOLE 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define WKM_ALWAYS_INLINE inline __attribute__((always_inline))
#define WKM_UNLIKELY(condition) __builtin_expect(condition, false)
#define WKM_PRAGMA(text) _Pragma(#text)
#define WKM_UNROLL(n) WKM_PRAGMA(GCC unroll n)
#else
#define WKM_ALWAYS_INLINE __forceinline
#define WKM_UNLIKELY(condition) (condition)
#define WKM_UNROLL(n)
#endif

// Whether a product is rounded before it is added.
enum class MultiplyAdd { separate, fused };

#if WKM_X86_DISPATCH
#if defined(__clang__)
#define WKM_TARGET_AVX512 "avx2,avx512f,avx512dq,avx512bw,avx512vl"
#else
#define WKM_TARGET_AVX512 "avx2,avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512"
#endif

template <class Kernel, class... Args>
__attribute__((target("avx2"))) auto run_avx2(Args... args) {
  return Kernel::run(args...);
}

template <class Kernel, class... Args>
__attribute__((target("avx2,fma"))) auto run_avx2_fused(Args... args) {
  return Kernel::template run<MultiplyAdd::fused>(args...);
}

template <class Kernel, class... Args>
__attribute__((target(WKM_TARGET_AVX512))) auto run_avx512_fused(Args... args) {
  return Kernel::template run<MultiplyAdd::fused>(args...);
}

template <class Kernel, class... Args>
__attribute__((target(WKM_TARGET_AVX512))) auto run_avx512(Args... args) {
  return Kernel::run(args...);
}
#endif

// Runs `Kernel::run(args...)`, a WKM_ALWAYS_INLINE function of plain loops, compiled for the active
// instruction set. Contraction is off and sums have a fixed shape, so all paths give the same bits.
template <class Kernel, class... Args>
auto dispatch(Args... args) {
#if WKM_DISPATCH_IS_WHOLE
  switch (active_isa()) {
    case Isa::avx512:
      return run_avx512<Kernel>(args...);
    case Isa::avx2:
      return run_avx2<Kernel>(args...);
    case Isa::baseline:
      break;
  }
#endif
  return Kernel::run(args...);
}

// Runs `Kernel::run<MultiplyAdd>(args...)`, fused where the active instruction set does that at no
// cost: for matrix products, twice as fast so. Each path gives bits of its own.
template <class Kernel, class... Args>
auto dispatch_fused(Args... args) {
#if WKM_DISPATCH_IS_WHOLE
  switch (active_isa()) {
    case Isa::avx512:
      return run_avx512_fused<Kernel>(args...);
    case Isa::avx2:
      return run_avx2_fused<Kernel>(args...);
    case Isa::baseline:
      break;
  }
#endif
#if defined(__aarch64__)
  return Kernel::template run<MultiplyAdd::fused>(args...);
#else
  return Kernel::template run<MultiplyAdd::separate>(args...);
#endif
}

}  // namespace wkmeans

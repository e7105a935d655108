# wkmeans_options: how every target of this project is compiled and linked.
add_library(wkmeans_options INTERFACE)

# A fused multiply-add rounds once where two operations round twice. Whether the compiler fuses
# depends on the instruction set, so contraction is off: every path computes the same bits.
if(MSVC)
  target_compile_options(wkmeans_options INTERFACE /W4 /utf-8 /bigobj /fp:precise)
  target_compile_definitions(wkmeans_options INTERFACE NOMINMAX)
else()
  target_compile_options(wkmeans_options INTERFACE
    -Wall -Wextra -Wshadow -Wconversion
    -ffp-contract=off
    # Neither errno nor floating-point traps are ever read; honouring them blocks vectorisation.
    -fno-math-errno -fno-trapping-math)
endif()

if(WKMEANS_WERROR)
  target_compile_options(wkmeans_options INTERFACE $<IF:$<CXX_COMPILER_ID:MSVC>,/WX,-Werror>)
endif()

if(WKMEANS_SANITIZE)
  string(REPLACE ";" "," sanitizers "${WKMEANS_SANITIZE}")
  target_compile_options(wkmeans_options INTERFACE
    -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer
    # Optimisers take five times as long over instrumented code, and longer to keep track of
    # variables; a report needs the line.
    -Og -g1)
  target_compile_definitions(wkmeans_options INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(wkmeans_options INTERFACE -fsanitize=${sanitizers})
endif()

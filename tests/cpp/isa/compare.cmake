# Runs DIGEST for every instruction set of ISAS (those that the processor lacks fall back to what it
# has) and fails unless all print the same.
foreach(isa IN LISTS ISAS)
  set(ENV{WKMEANS_ISA} ${isa})
  execute_process(COMMAND ${DIGEST} OUTPUT_VARIABLE digest ERROR_VARIABLE active
                  COMMAND_ERROR_IS_FATAL ANY)
  message(STATUS "${isa}, running ${active}${digest}")
  if(NOT DEFINED expected)
    set(expected "${digest}")
  elseif(NOT digest STREQUAL expected)
    message(FATAL_ERROR "${isa} gives other bits than the instruction sets before it")
  endif()
endforeach()

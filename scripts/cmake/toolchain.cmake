# How everything in this tree is compiled: build type, language, warnings, sanitizers, ccache.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(WEIR_CCACHE ccache)
  mark_as_advanced(WEIR_CCACHE)
  if(WEIR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${WEIR_CCACHE})
  endif()
endif()

if(WEIR_SANITIZE)
  add_compile_options(-fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${WEIR_SANITIZE})
endif()
if(WEIR_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "WEIR_BUILD_FUZZERS needs clang++ (libFuzzer); this compiler is ${CMAKE_CXX_COMPILER_ID}")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(weir_options INTERFACE)
# The last two: scales are the same bits on every compiler and instruction set only while no multiplication and addition
# are fused and nothing is reassociated, whatever CMAKE_CXX_FLAGS says.
# GCC 12 warns of overlapping copies and uninitialised members inside std::string where there are none (GCC bug 105651).
target_compile_options(weir_options INTERFACE -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow
  "$<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict;-Wno-maybe-uninitialized>"
  $<$<BOOL:${WEIR_WARNINGS_AS_ERRORS}>:-Werror> -fno-fast-math -ffp-contract=off)

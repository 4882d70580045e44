# weir_python: ON where the Python package is built. That is where WEIR_WITH_PYTHON is ON, or AUTO and an interpreter with its
# headers, NumPy and pybind11 are there. AUTO leaves it out of builds with sanitizers, which a plain interpreter cannot load.
set(WEIR_WITH_PYTHON AUTO CACHE STRING "Build the Python package, which needs pybind11 and NumPy: AUTO, ON or OFF")
set_property(CACHE WEIR_WITH_PYTHON PROPERTY STRINGS AUTO ON OFF)

set(weir_python OFF)
if(WEIR_WITH_PYTHON STREQUAL "ON" OR (WEIR_WITH_PYTHON STREQUAL "AUTO" AND PROJECT_IS_TOP_LEVEL AND NOT WEIR_SANITIZE))
  # Debian's, whose packages are the ones that are there, before others that a user has.
  find_program(WEIR_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH DOC "The interpreter that the package is for")
  find_program(WEIR_PYTHON python3)
  set(PYBIND11_NOPYTHON ON)
  find_package(pybind11 2.10 CONFIG QUIET)
  # Only those who run it need NumPy, so that a build that was asked for does not look for it.
  set(imports "")
  if(WEIR_WITH_PYTHON STREQUAL "AUTO")
    set(imports "import numpy; ")
  endif()
  execute_process(COMMAND ${WEIR_PYTHON} -c
      "${imports}import os, sysconfig; p = sysconfig.get_path('include'); open(os.path.join(p, 'Python.h')).close(); print(p, sysconfig.get_config_var('EXT_SUFFIX'), sep=';', end='')"
    OUTPUT_VARIABLE weir_python_answer ERROR_QUIET RESULT_VARIABLE weir_python_failed)
  if(pybind11_FOUND AND weir_python_failed EQUAL 0)
    set(weir_python ON)
    list(GET weir_python_answer 0 weir_python_include)
    list(GET weir_python_answer 1 weir_python_suffix)
  elseif(WEIR_WITH_PYTHON STREQUAL "ON")
    message(FATAL_ERROR "WEIR_WITH_PYTHON is ON, but ${WEIR_PYTHON} has no headers, or there is no pybind11 "
      "(Debian: python3-dev pybind11-dev)")
  endif()
endif()

# `cpack --preset release` makes Debian packages: weir (the program), libweir-dev (the libraries) and, where it is built,
# python3-weir. `cpack --config build/CPackSourceConfig.cmake` makes an archive of the sources.

set(WEIR_PACKAGE_CONTACT "weir maintainers <maintainers@weir.example>" CACHE STRING
  "Who maintains the packages that cpack makes, as Debian wants it: NAME <MAIL>")

set(CPACK_PACKAGE_NAME weir)
set(CPACK_PACKAGE_VENDOR weir)
set(CPACK_PACKAGE_CONTACT "${WEIR_PACKAGE_CONTACT}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_RESOURCE_FILE_README ${PROJECT_SOURCE_DIR}/README.md)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)

set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME weir-${PROJECT_VERSION})
set(CPACK_SOURCE_IGNORE_FILES "/\\.git/" "/build[^/]*/" "/out/" "/\\.cache/" "__pycache__" "/compile_commands\\.json$")

set(CPACK_GENERATOR DEB)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_STRIP_FILES ON)
# Debian's own names of what the libraries need, for those who link to them; what binaries need, dpkg-shlibdeps finds.
set(libraries libfmt-dev zlib1g-dev libxxhash-dev libhwy-dev libfftw3-dev)
if(weir_kafka)
  list(APPEND libraries librdkafka-dev)
endif()
if(weir_zstd)
  list(APPEND libraries libzstd-dev)
endif()
set(CPACK_COMPONENTS_ALL development)
if(WEIR_WITH_MPI)
  list(APPEND CPACK_COMPONENTS_ALL program)
  if(MPI_CXX_LIBRARIES MATCHES mpich)
    list(APPEND libraries libmpich-dev)
    set(mpi_program mpich)
  else()
    list(APPEND libraries libopenmpi-dev)
    set(mpi_program openmpi-bin)
  endif()
endif()
if(weir_python)
  list(APPEND CPACK_COMPONENTS_ALL python)
endif()
list(JOIN libraries ", " libraries)

set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(about "weir keeps a small linear sketch of a vector that is too large to store, while
changes of its entries arrive on any number of MPI ranks, and draws entries
from the sketch. States add, subtract and go on.")

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME weir)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "draw random entries of vectors that change, from small sketches\n${about}")
# mpirun starts several ranks, and weir-supervise is a Python program: weir itself needs neither.
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "${mpi_program}, python3")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libweir-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${libraries}")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "library that draws from sketches of changing vectors, for C++
${about}
These are the headers and static libraries, with files for CMake and pkg-config.")

set(CPACK_DEBIAN_PYTHON_PACKAGE_NAME python3-weir)
set(CPACK_DEBIAN_PYTHON_PACKAGE_SECTION python)
if(weir_python)
  # The modules are for the minor version that they were built for.
  string(REGEX MATCH "cpython-([0-9])([0-9]+)" abi "${weir_python_suffix}")
  set(minor ${CMAKE_MATCH_2})
  math(EXPR next "${minor} + 1")
  set(CPACK_DEBIAN_PYTHON_PACKAGE_DEPENDS "python3 (>= 3.${minor}), python3 (<< 3.${next}), python3-numpy")
endif()
set(CPACK_DEBIAN_PYTHON_PACKAGE_SUGGESTS "python3-mpi4py, python3-scipy, python3-matplotlib")
set(CPACK_DEBIAN_PYTHON_DESCRIPTION "Python package that draws from sketches of changing vectors\n${about}")

# What Debian wants in every package and an installation elsewhere does not need.
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/debian_files.cmake)
set(CPACK_WEIR_RELEASE_NOTES ${PROJECT_SOURCE_DIR}/scripts/packaging/release-notes.md)
include(CPack)

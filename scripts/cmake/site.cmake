# weir_site: the documentation as pages of HTML in ${PROJECT_BINARY_DIR}/site, by Doxygen. Only there where WEIR_BUILD_SITE is ON,
# and not part of the default build.
option(WEIR_BUILD_SITE "Offer the target weir_site, which needs Doxygen" OFF)
if(NOT WEIR_BUILD_SITE)
  return()
endif()
find_package(Doxygen 1.9 REQUIRED)
find_program(WEIR_SITE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH DOC "It prepares the pages; it needs no packages")
find_program(WEIR_SITE_PYTHON python3 REQUIRED)
set(weir_site_commands ${PROJECT_BINARY_DIR}/site-commands)
configure_file(${PROJECT_SOURCE_DIR}/apps/documentation/Doxyfile.in ${PROJECT_BINARY_DIR}/Doxyfile @ONLY)
add_custom_target(weir_site
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${PROJECT_BINARY_DIR}/site ${weir_site_commands}
  COMMAND ${WEIR_SITE_PYTHON} ${PROJECT_SOURCE_DIR}/apps/documentation/site_page.py --commands $<TARGET_FILE:weir_program> ${weir_site_commands}
  COMMAND Doxygen::doxygen ${PROJECT_BINARY_DIR}/Doxyfile
  COMMENT "Writing the documentation to ${PROJECT_BINARY_DIR}/site" VERBATIM)
add_dependencies(weir_site weir_program)

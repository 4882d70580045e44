# weir_serve: what the sources of the program are compiled and linked with that answer while a stream runs. It brings
# cpp-httplib and the definition WEIR_SERVE where WEIR_WITH_SERVE is ON, or AUTO and the library is there.
set(WEIR_WITH_SERVE AUTO CACHE STRING "Answer over HTTP while the stream runs, which needs cpp-httplib: AUTO, ON or OFF")
set_property(CACHE WEIR_WITH_SERVE PROPERTY STRINGS AUTO ON OFF)

add_library(weir_serve INTERFACE)
if(NOT WEIR_WITH_SERVE STREQUAL "OFF")
  # Later versions have another interface for those who derive from its server.
  pkg_check_modules(HTTPLIB QUIET IMPORTED_TARGET cpp-httplib>=0.11 cpp-httplib<0.12)
  find_package(Threads REQUIRED)
  if(HTTPLIB_FOUND)
    target_compile_definitions(weir_serve INTERFACE WEIR_SERVE)
    target_link_libraries(weir_serve INTERFACE PkgConfig::HTTPLIB Threads::Threads)
  elseif(WEIR_WITH_SERVE STREQUAL "ON")
    message(FATAL_ERROR "WEIR_WITH_SERVE is ON, but there is no cpp-httplib 0.11 (Debian: libcpp-httplib-dev)")
  endif()
endif()

# The page for people, as a string of the program.
set(weir_page_source ${PROJECT_BINARY_DIR}/generated/page.cpp)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/apps/weir/page.html)
file(READ ${PROJECT_SOURCE_DIR}/apps/weir/page.html WEIR_PAGE)
configure_file(${PROJECT_SOURCE_DIR}/apps/weir/page.cpp.in ${weir_page_source} @ONLY)

# cpack runs this on the files of each package, before it packs them: the licence and the changelog, which is made of the release
# notes, in share/doc of the package; pages of the manual are compressed.

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# A section "## VERSION (DATE)" with "* ..." below becomes an entry.
file(STRINGS ${CPACK_WEIR_RELEASE_NOTES} lines)
set(changelog "")
set(ending "")
foreach(line IN LISTS lines)
  if(line MATCHES "^## ([0-9.]+) \\(([0-9-]+)\\)$")
    set(version ${CMAKE_MATCH_1})
    execute_process(COMMAND date -u -R -d ${CMAKE_MATCH_2} OUTPUT_VARIABLE date OUTPUT_STRIP_TRAILING_WHITESPACE
      COMMAND_ERROR_IS_FATAL ANY)
    string(APPEND changelog "${ending}weir (${version}) unstable; urgency=medium\n\n")
    set(ending "\n -- ${CPACK_PACKAGE_CONTACT}  ${date}\n\n")
  elseif(line MATCHES "^[* ] " AND ending)
    string(APPEND changelog "  ${line}\n")
  endif()
endforeach()
string(APPEND changelog "${ending}")

set(copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: weir

Files: *
Copyright: the authors of weir
License: Apache-2.0
 On Debian systems the text of this licence is in /usr/share/common-licenses/Apache-2.0.
")
foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  set(root ${CPACK_TEMPORARY_DIRECTORY}/${component}${CPACK_PACKAGING_INSTALL_PREFIX})
  set(documents ${root}/share/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
  file(WRITE ${documents}/copyright "${copyright}")
  file(REMOVE ${documents}/LICENSE)  # as Debian has it once for all packages
  file(WRITE ${documents}/changelog "${changelog}")
  run(gzip -9nf ${documents}/changelog)
  file(GLOB pages ${root}/share/man/man1/*.1)
  if(pages)
    run(gzip -9nf ${pages})
  endif()
endforeach()

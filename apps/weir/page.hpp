#pragma once

#include <string_view>

namespace weir::app {

/// The page that a running job shows to people: page.html, which CMake puts into the program.
extern const std::string_view page_html;

}  // namespace weir::app

#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

// What is made of the commands and their options: pages of the manual, and what shells complete.

namespace weir::app {

/// A page of the manual, in the macros "man" of roff: of `command`, or of the program where that is `app` itself.
[[nodiscard]] std::string manual_page(const CLI::App& app, const CLI::App& command);

/// The shells that completion_script() knows.
[[nodiscard]] const std::vector<std::string>& known_shells();
/// The script by which a shell completes commands, options, and the words and files that options take.
[[nodiscard]] std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace weir::app

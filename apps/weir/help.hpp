#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace weir::app {

/// What the help of a command says behind its options: `sections`, the exit codes, and `examples`, each of which a shell runs
/// as it stands. A section is paragraphs, or a title that ends in a colon and lines that are indented; blank lines separate
/// them.
void set_help(CLI::App& command, const std::string& sections, const std::vector<std::string>& examples);

/// A section of such a text.
struct HelpSection {
  std::string title;  ///< Without its colon; empty for paragraphs.
  std::vector<std::string> lines;
};
/// The sections that set_help() was given, the exit codes, and the examples, which have the title "Examples".
[[nodiscard]] std::vector<HelpSection> help_sections(const CLI::App& command);

/// The commands that help lists.
[[nodiscard]] std::vector<const CLI::App*> commands_of(const CLI::App& app);

/// Those of `candidates` that `given` may be a misspelling or the beginning of, the most similar first; three at most.
[[nodiscard]] std::vector<std::string> similar(const std::string& given, const std::vector<std::string>& candidates);
/// What is wrong with a command line in which the option, or the command, `given` is not known, and what may have been meant.
/// `command` is null where none was named.
[[nodiscard]] std::string unknown_option(const CLI::App& app, const CLI::App* command, const std::string& given);
[[nodiscard]] std::string unknown_command(const CLI::App& app, const std::string& given);

}  // namespace weir::app

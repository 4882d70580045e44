#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace weir::app {

/// What the program returns to the shell.
enum ExitCode : int {
  done = 0,
  input_error = 1,    ///< Bad input or a failure at run time.
  usage_error = 2,    ///< The command line asks for something impossible.
  nothing_drawn = 3,  ///< All went well, but there is nothing to draw from (or every lane failed).
};

// Each function adds one subcommand. Parsing only fills its options and stores the work in `action`, which main runs
// once the whole command line is known to be good; it returns an ExitCode.
void add_sample_command(CLI::App& app, std::function<int()>& action);
void add_query_command(CLI::App& app, std::function<int()>& action);
void add_attend_command(CLI::App& app, std::function<int()>& action);
void add_convert_command(CLI::App& app, std::function<int()>& action);
void add_generate_command(CLI::App& app, std::function<int()>& action);
void add_combine_command(CLI::App& app, std::function<int()>& action);
void add_inspect_command(CLI::App& app, std::function<int()>& action);
/// Games of two parties, one on each of two ranks.
void add_protocol_command(CLI::App& app, std::function<int()>& action);
/// What is made of the other commands, which are there already: help, completion, and documents, which help does not list.
void add_document_commands(CLI::App& app, std::function<int()>& action);

}  // namespace weir::app

#pragma once

#include <CLI/CLI.hpp>
#include <set>
#include <string>
#include <vector>

#include "commands.hpp"
#include "formats.hpp"
#include "weir/state/question.hpp"

namespace weir::app {

// Questions to a job that runs elsewhere and was started with --serve. Nothing here uses MPI.

/// --at.
void add_at_option(CLI::App& command, std::string& address);
/// Throws UsageError for options of `command` that were given and say what the job itself has settled: all but --at and
/// those of `allowed`.
void require_only(const CLI::App& command, const std::set<std::string>& allowed);

/// How an answer is shown.
struct AskedOutput {
  bool json = false;           ///< As an object, which CSV is made of as well; otherwise as a table.
  std::string plot_path = {};  ///< Empty where no picture is wanted.
};

/// What a command prints, in the form that was asked for, and its exit code.
struct Asked {
  Printable report;
  ExitCode code = done;
};

/// Each asks the job at `address` and returns what the command would print about a state of its own, with the epoch; it
/// writes the picture. Throws UsageError for an address that is none and for questions that the job's state does not
/// answer, InputError when nobody answers, when who answers is not a weir, or has no epoch yet.
[[nodiscard]] Asked query_at(const std::string& address, const Question& question,
                             const std::vector<std::string>& others, const AskedOutput& output);
/// `samples`: 0 for as many as the job draws. They are distinct where that, or the job, says so.
[[nodiscard]] Asked sample_at(const std::string& address, std::uint64_t samples, bool without_replacement,
                              const AskedOutput& output);
/// What the job measures, and how old its last epoch is.
[[nodiscard]] Asked inspect_at(const std::string& address, const AskedOutput& output);

}  // namespace weir::app

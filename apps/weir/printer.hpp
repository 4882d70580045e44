#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "formats.hpp"
#include "weir/io/file.hpp"

namespace weir::app {

/// How results are printed, and where.
struct PrintOptions {
  std::optional<Format> format = {};
  std::string path = {};  ///< Empty, or -: standard output.

  /// The file, or an empty name.
  [[nodiscard]] std::string file() const { return path == "-" ? std::string() : path; }
};
/// --format, --json, and the option, "-o,--output" say, that names a file for what is printed.
void add_print_options(CLI::App& app, PrintOptions& options, const std::string& path_option = "-o,--output");

/// Reports as they come.
enum class Reports : std::uint8_t {
  one,      ///< A single one: its file appears when it is complete.
  several,  ///< One after the other: the file is begun anew by the first one, grows in place, and each report is in it when
            ///< print() returns.
  more,  ///< The same, behind those of an earlier job that are in the file.
};

/// Prints the reports of a command in the format, and to the place, that was asked for. On the rank that speaks.
class Printer {
 public:
  /// A format that is not given is a table, and of several reports lines of JSON, unless `lines` is false. Throws InputError
  /// where the file cannot be written to.
  explicit Printer(PrintOptions options, Reports reports = Reports::one, bool lines = true);
  [[nodiscard]] bool prints_tables() const noexcept { return format_ == Format::table; }
  /// Throws InputError, also when a number is not finite.
  void print(const Printable& report);

 private:
  void write(const std::string& text);

  PrintOptions options_;
  Reports reports_;
  Format format_;
  std::unique_ptr<GrowingFile> growing_;  ///< Of several reports, from the first one on.
  bool is_first_ = true;
  bool has_header_ = false;
};

}  // namespace weir::app

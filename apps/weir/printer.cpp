#include "printer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "options.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"

namespace weir::app {
namespace {

constexpr std::array<std::pair<std::string_view, Format>, 4> formats{
    {{"table", Format::table}, {"json", Format::json}, {"ndjson", Format::ndjson}, {"csv", Format::csv}}};

std::string_view name_of(Format format) {
  for (const auto& [name, known] : formats)
    if (known == format) return name;
  return {};
}

/// Throws CLI::ValidationError where another format has been chosen already.
void choose(PrintOptions& options, Format format) {
  if (options.format && *options.format != format)
    throw CLI::ValidationError("--json", "contradicts --format, expected one of them");
  options.format = format;
}

/// Throws InputError where reports in `format` would follow those of another one in the file: as its beginning tells, which is a
/// line unless a crash has cut it.
void require_same_format(const std::string& path, Format format) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return;
  const InputFile file(path);
  std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), std::uint64_t{1} << 16)), '\0');
  text.resize(file.read_some_at(0, std::as_writable_bytes(std::span(text))));
  const std::size_t end = text.find('\n');
  if (end == std::string::npos && text.size() == file.size()) return;
  const std::string_view line = std::string_view(text).substr(0, end);
  const Format found = line.starts_with('{')        ? Format::ndjson
                       : line.starts_with("epoch,") ? Format::csv
                                                    : Format::table;
  if (found != format)
    throw InputError(fmt::format(
        "{}: begins with {}, as --format {} prints it, and --resume would add {} to it: expected the same format, or "
        "another file",
        path, quoted_excerpt(line), name_of(found), name_of(format)));
}

}  // namespace

void add_print_options(CLI::App& app, PrintOptions& options, const std::string& path_option) {
  const std::string group = "Output";
  add_choice(
      app, "--format", {"table", "json", "ndjson", "csv"},
      [&options](const std::string& text) {
        for (const auto& [name, format] : formats)
          if (text == name) choose(options, format);
      },
      "What is printed. table: for people. json: one object. ndjson: the same in one line.\n"
      "csv: a line of names and a line for each record (RFC 4180). The fields and the columns\n"
      "are listed below. Answers that come one after the other, as with --every, are ndjson\n"
      "unless you say otherwise")
      ->default_str("table")
      ->group(group);
  app.add_flag_callback(
         "--json", [&options] { choose(options, Format::json); }, "The same as --format json")
      ->group(group);
  add_path(app, path_option, options.path,
           "Write what is printed to this file, which appears when it is complete. Where answers\n"
           "come one after the other the file grows, by one write each, and --resume goes on\n"
           "behind what is in it. - is standard output")
      ->type_name("FILE")
      ->group(group);
}

Printer::Printer(PrintOptions options, Reports reports, bool lines)
    : options_(std::move(options)),
      reports_(reports),
      format_(options_.format.value_or(reports == Reports::one || !lines ? Format::table : Format::ndjson)) {
  // Objects that come one after the other take a line each.
  if (format_ == Format::json && reports != Reports::one) format_ = Format::ndjson;
  if (options_.file().empty()) return;
  require_creatable(options_.file());
  if (reports_ == Reports::more) require_same_format(options_.file(), format_);
}

void Printer::print(const Printable& report) {
  if (reports_ != Reports::one && !options_.file().empty() && !growing_) {
    growing_ = std::make_unique<GrowingFile>(options_.file(), reports_ == Reports::more);
    has_header_ = !growing_->is_empty();
  }
  // Tables that come one after the other are set apart.
  if (format_ == Format::table) return write((std::exchange(is_first_, false) ? "" : "\n") + report.table());
  const nlohmann::ordered_json json = report.json();
  if (format_ != Format::csv) return write(json_text(json, format_) + '\n');
  const Records records = report.records(json);
  write(csv_text(records, !has_header_));
  has_header_ = true;
  // Why there is none is no record.
  if (records.rows.empty() && json.contains("reason")) say("weir: no records: " + json["reason"].get<std::string>());
}

void Printer::write(const std::string& text) {
  if (growing_) {
    growing_->write(text);
  } else if (!options_.file().empty()) {
    OutputFile file(options_.file());
    file.write(text);
    file.commit();
  } else {
    print_answer(text);
  }
}

}  // namespace weir::app

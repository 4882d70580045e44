#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace weir::app {

/// How a report is printed.
enum class Format : std::uint8_t {
  table,   ///< For people.
  json,    ///< One object, indented; in one line where reports come one after the other.
  ndjson,  ///< One object in one line.
  csv,     ///< One row for each record of the report.
};

/// The object of a report as text, indented, or in one line for Format::ndjson, without a newline at the end. Bytes of texts
/// that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string json_text(const nlohmann::ordered_json& report, Format format = Format::json);

/// What CSV has of a report: rows of texts and numbers, empty where there is no value.
struct Records {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows = {};
};
/// RFC 4180, but for lines that end in \n. A field is quoted where it has a comma, a quote or the end of a line in it. The
/// columns are the first line if `with_header`.
[[nodiscard]] std::string csv_text(const Records& records, bool with_header);

// What the objects of to_json() have as records. The columns depend on the options of a run, never on what came out, so that
// all reports of a run have the same. Those of an epoch begin with epoch, time, updates and final.

/// A row for each draw: lane, index, label (i1, i2, label1, label2 where y is a matrix), value, value_bound, probability,
/// probability_bound, inclusion, exact_value, exact_probability, row (the entries of a drawn row, separated by blanks).
[[nodiscard]] Records sample_records(const nlohmann::ordered_json& report);
/// A row for each answer: question (norm, top, point, moment, inner), index, label (as above), p (of a moment), state (of an
/// inner product), value, bound.
[[nodiscard]] Records query_records(const nlohmann::ordered_json& report);
/// One row with a column for each field. Names of nested fields are joined by points: seconds.ingest; items of lists have
/// their number, from 0: shape.0.
[[nodiscard]] Records field_records(const nlohmann::ordered_json& report);

/// A report in the forms that it is printed in. Each is made when it is asked for.
struct Printable {
  std::function<nlohmann::ordered_json()> json;
  std::function<std::string()> table;
  std::function<Records(const nlohmann::ordered_json&)> records = field_records;
};
/// The forms of a report that to_json() and to_table() know.
template <class Report>
Printable printable(Report report, Records (*records)(const nlohmann::ordered_json&)) {
  const auto shared = std::make_shared<const Report>(std::move(report));
  return {[shared] { return to_json(*shared); }, [shared] { return to_table(*shared); }, records};
}

}  // namespace weir::app

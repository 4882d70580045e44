#include "formats.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

std::string to_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// As CSV has it.
std::string cell_of(const Json& value) {
  if (value.is_null()) return {};
  return value.is_string() ? value.get<std::string>() : to_text(value, -1);
}

std::string quoted_where_needed(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += c;
    quoted += c;
  }
  return quoted + '"';
}

/// The field of an object; null where there is none.
Json field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? Json() : *found;
}
/// The item of a list; null where there is none.
Json item(const Json& list, std::size_t k) { return list.is_array() && k < list.size() ? list[k] : Json(); }

/// The columns of the moment of an answer.
class EpochColumns {
 public:
  explicit EpochColumns(const Json& report) {
    if (!report.contains("epoch")) return;
    for (const char* name : {"epoch", "time", "updates", "final"}) {
      names_.emplace_back(name);
      values_.push_back(cell_of(field(report, name)));
    }
  }
  /// These columns, and `more` behind them.
  [[nodiscard]] Records with(const std::vector<std::string>& more) const {
    Records records{names_};
    records.columns.insert(records.columns.end(), more.begin(), more.end());
    return records;
  }
  [[nodiscard]] Row row() const { return values_; }

 private:
  std::vector<std::string> names_;
  Row values_;
};

bool is_of_pairs(const Json& report) { return report.contains("shape"); }

std::vector<std::string> index_columns(bool pairs) {
  return pairs ? std::vector<std::string>{"i1", "i2", "label1", "label2"} : std::vector<std::string>{"index", "label"};
}

/// Of a draw or an entry; nulls where `entry` is null.
void add_index(Row& row, const Json& entry, bool pairs) {
  const Json index = field(entry, "index");
  const Json label = field(entry, "label");
  if (!pairs) {
    row.insert(row.end(), {cell_of(index), cell_of(label)});
    return;
  }
  for (const Json* list : {&index, &label})
    for (const std::size_t k : {0U, 1U}) row.push_back(cell_of(item(*list, k)));
}

void add_fields(const Json& value, const std::string& name, Records& records) {
  if (!value.is_structured() || value.empty()) {
    records.columns.push_back(name);
    records.rows.front().push_back(value.is_structured() ? std::string() : cell_of(value));
    return;
  }
  std::size_t number = 0;
  for (const auto& [key, inner] : value.items()) {
    const std::string own = value.is_array() ? fmt::to_string(number++) : key;
    add_fields(inner, name.empty() ? own : name + '.' + own, records);
  }
}

}  // namespace

std::string json_text(const Json& report, Format format) { return to_text(report, format == Format::ndjson ? -1 : 2); }

std::string csv_text(const Records& records, bool with_header) {
  std::string text;
  const auto add_line = [&](const Row& fields) {
    std::string_view separator;
    for (const std::string& value : fields) {
      text += separator;
      text += quoted_where_needed(value);
      separator = ",";
    }
    text += '\n';
  };
  if (with_header) add_line(records.columns);
  for (const Row& row : records.rows) add_line(row);
  return text;
}

Records sample_records(const Json& report) {
  const EpochColumns epoch(report);
  const bool pairs = is_of_pairs(report);
  std::vector<std::string> columns = index_columns(pairs);
  columns.insert(columns.begin(), "lane");
  for (const char* name : {"value", "value_bound", "probability", "probability_bound", "inclusion", "exact_value",
                           "exact_probability", "row"})
    columns.emplace_back(name);
  Records records = epoch.with(columns);
  for (const Json& sample : report.at("samples")) {
    Row row = epoch.row();
    row.push_back(cell_of(field(sample, "lane")));
    add_index(row, sample, pairs);
    for (const char* name : {"value", "value_bound", "probability", "probability_bound", "inclusion"})
      row.push_back(cell_of(field(sample, name)));
    const Json exact = field(sample, "exact");
    for (const char* name : {"value", "probability"}) row.push_back(cell_of(field(exact, name)));
    std::string entries;
    for (const Json& entry : field(sample, "row")) entries += (entries.empty() ? "" : " ") + cell_of(entry);
    row.push_back(std::move(entries));
    records.rows.push_back(std::move(row));
  }
  return records;
}

Records query_records(const Json& report) {
  const EpochColumns epoch(report);
  const bool pairs = is_of_pairs(report);
  std::vector<std::string> columns = index_columns(pairs);
  columns.insert(columns.begin(), "question");
  for (const char* name : {"p", "state", "value", "bound"}) columns.emplace_back(name);
  Records records = epoch.with(columns);
  /// `entry` is an entry of y, a moment or an inner product.
  const auto add = [&](const char* question, const Json& entry, const Json& value, const Json& bound) {
    Row row = epoch.row();
    row.emplace_back(question);
    add_index(row, entry, pairs);
    for (const char* name : {"p", "state"}) row.push_back(cell_of(field(entry, name)));
    row.push_back(cell_of(value));
    row.push_back(cell_of(bound));
    records.rows.push_back(std::move(row));
  };
  if (report.contains("norm")) add("norm", Json(), report["norm"], field(report, "norm_bound"));
  for (const auto& [name, question] :
       {std::pair("top", "top"), {"points", "point"}, {"moments", "moment"}, {"inner", "inner"}})
    for (const Json& entry : field(report, name)) add(question, entry, field(entry, "value"), field(entry, "bound"));
  return records;
}

Records field_records(const Json& report) {
  Records records{{}, {Row()}};
  add_fields(report, "", records);
  return records;
}

}  // namespace weir::app

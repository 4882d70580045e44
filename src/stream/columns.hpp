#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "decoder.hpp"
#include "weir/stream/columns.hpp"

namespace weir::stream {

/// The header of a table ends within so many bytes, and no line of it is longer.
inline constexpr std::size_t longest_record = std::size_t{1} << 20;

/// Columns that are called by number are among the first so many.
inline constexpr std::size_t most_columns = std::size_t{1} << 16;

/// A column of a table, or a member of an object.
struct Column {
  std::size_t number = 0;  ///< From 0.
  std::string path = {};   ///< Of JSON: names of members with dots between them.
  std::string name = {};   ///< For messages: "column 3 (bytes)".
};

/// Where the columns of one table are.
struct ColumnLayout {
  bool is_json = false;
  char separator = ',';
  std::vector<Column> key = {};
  std::optional<Column> delta = {};
  double constant = 1;  ///< Where there is no column of deltas.
  std::optional<Column> sign = {};
  std::string header = {};  ///< The line of names, if there is one.
  bool is_log = false;      ///< It has directives as those of Zeek and W3C have, which may come again.
  bool is_header_by_guess = false;
  bool is_between_blanks_by_guess = false;
  std::uint64_t data_begin = 0;    ///< Bytes before the first line that is an event: comments and the header.
  std::uint64_t lines_before = 0;  ///< Lines of these.
};

/// The layout of a table called `name` that begins with `beginning`, or with `is_whole` is no more than that; none while more
/// bytes are needed. Comments above it are passed over: "# text", and the directives of
/// Zeek and W3C logs, whose #fields are a header. Throws InputError.
[[nodiscard]] std::optional<ColumnLayout> layout_of(const Columns& columns, std::string_view beginning, bool is_whole,
                                                    const std::string& name);
/// That of the lines behind the header, which come by themselves.
[[nodiscard]] std::shared_ptr<const ColumnLayout> without_header(ColumnLayout layout);
/// layout_of() of what `input`, of which nothing has been read, begins with. Waits no longer than for its first line.
[[nodiscard]] ColumnLayout layout_of(const Columns& columns, Input& input);

/// Whether a line is a directive of Zeek ("#separator", "#fields") or W3C logs ("#Version: 1.0").
[[nodiscard]] bool is_directive_of_log(std::string_view line) noexcept;
/// "commas", for messages.
[[nodiscard]] std::string_view name_of_separator(char separator) noexcept;

/// Goes through the fields of a line without its end. A field that begins with a quote ends with one, and "" in it is a quote.
class TableFields {
 public:
  TableFields(std::string_view line, char separator) : rest_(line), separator_(separator) {}

  /// False after the last field. The field is valid until the next call.
  bool next(std::string_view& field);
  /// Whether the last field has a quote that does not end, or text behind one that does.
  [[nodiscard]] bool is_broken() const noexcept { return broken_; }

 private:
  std::string_view rest_;
  char separator_;
  bool finished_ = false;
  bool broken_ = false;
  std::string unquoted_;
};

/// The sign that a field stands for; 0 where it stands for none.
[[nodiscard]] int sign_of(std::string_view field) noexcept;

/// As text_decoder(), of tables. `layout`: that of the table of which `input` is a part without the header; null to find it out.
[[nodiscard]] std::unique_ptr<Decoder> column_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                      const Limits& limits, Part part,
                                                      std::shared_ptr<const ColumnLayout> layout);

}  // namespace weir::stream

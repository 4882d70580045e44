#include <algorithm>
#include <string>

#include "line_decoder.hpp"
#include "weir/io/matrix_market.hpp"

namespace weir::stream {

namespace {

class MatrixMarketGrammar {
 public:
  static constexpr bool mirrors = true;
  static constexpr bool has_rows = false;

  MatrixMarketGrammar(const MatrixMarketHeader& header, Operand operand) : header_(header), operand_(operand) {}

  const char* parse_plain(const char* p, Event& event) const noexcept {
    const unsigned first = scan_digits(p, event.i);
    if (first == 0 || p[first] != ' ') return nullptr;
    p += first + 1;
    const unsigned second = scan_digits(p, event.j);
    if (second == 0) return nullptr;
    p += second;
    event.delta = 1;
    if (header_.field != MatrixMarketField::pattern) {
      if (*p != ' ') return nullptr;
      p = scan_number(p + 1, '\n', event.delta);
      if (p == nullptr) return nullptr;
    }
    event.operand = operand_;
    // Wraps 0 around to a value that is too large.
    if (--event.i >= header_.rows || --event.j >= header_.columns || !belongs(event)) return nullptr;
    return scan_line_end(p);
  }

  static bool is_nothing(std::string_view line) noexcept {
    const std::size_t first = line.find_first_not_of(" \t\r");
    return first == std::string_view::npos || line[first] == '%';
  }

  Line parse(std::string_view line, Event& event, RowBatch&, std::string& reason) const {
    return parse_entry(line, event, reason) ? Line::entry : Line::bad;
  }

  std::optional<Event> mirror(const Event& event) const noexcept {
    if (header_.symmetry == MatrixMarketSymmetry::general || event.i == event.j) return std::nullopt;
    return Event{event.operand, event.j, event.i,
                 header_.symmetry == MatrixMarketSymmetry::symmetric ? event.delta : -event.delta};
  }

  const MatrixMarketHeader& header() const noexcept { return header_; }

 private:
  bool parse_entry(std::string_view line, Event& event, std::string& reason) const {
    std::array<std::string_view, 3> fields;
    const std::size_t wanted = header_.field == MatrixMarketField::pattern ? 2 : 3;
    std::size_t count = 0;
    constexpr std::string_view blanks = " \t\r";
    for (std::size_t at = line.find_first_not_of(blanks); at != std::string_view::npos;
         at = line.find_first_not_of(blanks, at)) {
      const std::size_t end = std::min(line.find_first_of(blanks, at), line.size());
      if (count < fields.size()) fields[count] = line.substr(at, end - at);
      ++count;
      at = end;
    }
    if (count != wanted) {
      reason = fmt::format("{} field: found {}, expected {} as in '{}'", count < wanted ? "missing" : "extra", count,
                           wanted, wanted == 2 ? "row column" : "row column value");
      return false;
    }
    event.operand = operand_;
    event.delta = 1;
    if (!parse_index(fields[0], "row", event.i, reason) || !parse_index(fields[1], "column", event.j, reason))
      return false;
    if (event.i == 0 || event.j == 0 || event.i > header_.rows || event.j > header_.columns) {
      reason = fmt::format("entry ({}, {}) is outside the matrix, which is {} x {}, counted from 1", event.i, event.j,
                           header_.rows, header_.columns);
      return false;
    }
    --event.i;
    --event.j;
    if (!belongs(event)) {
      reason = fmt::format(
          "entry ({}, {}) has no place in a {} matrix, which stores {}", event.i + 1, event.j + 1,
          header_.symmetry == MatrixMarketSymmetry::symmetric ? "symmetric" : "skew-symmetric",
          header_.symmetry == MatrixMarketSymmetry::symmetric ? "its lower triangle" : "its strictly lower triangle");
      return false;
    }
    return wanted == 2 || parse_number(fields[2], "value", event.delta, reason);
  }

  /// False for an entry that the file's symmetry implies, or forbids.
  bool belongs(const Event& event) const noexcept {
    return header_.symmetry == MatrixMarketSymmetry::general || event.i > event.j ||
           (event.i == event.j && header_.symmetry == MatrixMarketSymmetry::symmetric);
  }

  MatrixMarketHeader header_;
  Operand operand_;
};

class MatrixMarketDecoder final : public LineDecoder<MatrixMarketGrammar> {
 public:
  MatrixMarketDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const MatrixMarketHeader& header)
      : LineDecoder(std::move(input), options, MatrixMarketGrammar(header, options.default_operand), longest_line,
                    header.data_offset, header.size_line) {}

 private:
  void finish() override {
    const MatrixMarketHeader& header = grammar().header();
    std::uint64_t found = entries();
    if (input().size()) {
      // The last party counts the lines of the others, so that a wrong total is found whatever the number of parties.
      if (options().slice + 1 < options().slice_count) return;
      found += count_entries(header.data_offset, begin(), false);
    }
    if (found != header.entries) {
      throw InputError(fmt::format("{}:{}: the size line promises {} entries, the file has {}", input().name(),
                                   header.size_line, header.entries, found));
    }
  }
};

}  // namespace

std::unique_ptr<Decoder> matrix_market_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                               const Limits& limits) {
  const MatrixMarketHeader header = parse_matrix_market_header(input->peek(matrix_market_header_limit), input->name());
  const Operand operand = options.default_operand;
  const auto refuse = [&](const std::string& reason) {
    throw InputError(fmt::format("{}:{}: {}", input->name(), header.size_line, reason));
  };
  if (header.format != MatrixMarketFormat::coordinate) {
    throw InputError(fmt::format("{}:1: the format is 'array', expected 'coordinate'", input->name()));
  }
  if (!limits.takes(operand)) refuse(limits.complaint(operand));
  if (header.rows > limits.rows(operand) || header.columns > limits.columns(operand)) {
    refuse(has_column(operand) ? fmt::format("the matrix is {} x {}, but {} is {} x {}", header.rows, header.columns,
                                             to_string(operand), limits.rows(operand), limits.columns(operand))
                               : fmt::format("the matrix is {} x {}, but {} is a vector of {} entries", header.rows,
                                             header.columns, to_string(operand), limits.rows(operand)));
  }
  if (header.entries == 0) refuse("contains no events: the matrix has no entries");
  if (!input->size()) {
    std::vector<std::byte> skipped(header.data_offset);
    input->read_fully(skipped);
  }
  return std::make_unique<MatrixMarketDecoder>(std::move(input), options, header);
}

}  // namespace weir::stream

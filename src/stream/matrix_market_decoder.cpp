#include <cmath>
#include <limits>
#include <string>

#include "io/matrix_market_lines.hpp"
#include "line_decoder.hpp"
#include "weir/io/matrix_market.hpp"

namespace weir::stream {

namespace {

class MatrixMarketGrammar {
 public:
  static constexpr bool mirrors = true;
  static constexpr bool has_rows = false;

  MatrixMarketGrammar(const MatrixMarketHeader& header, Operand operand)
      : rules_(header), header_(header), operand_(operand) {}

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
      if (header_.field == MatrixMarketField::integer && event.delta != std::trunc(event.delta)) return nullptr;
    }
    event.operand = operand_;
    // Wraps 0 around to a value that is too large.
    if (--event.i >= header_.rows || --event.j >= header_.columns || !rules_.belongs(event.i, event.j)) return nullptr;
    return scan_line_end(p);
  }

  static bool is_nothing(std::string_view line) noexcept { return MatrixMarketLines::is_nothing(line); }

  Line parse(std::string_view line, Event& event, RowBatch&, std::string& reason) const {
    MatrixMarketLines::Entry entry;
    if (!rules_.parse(line, entry, reason)) return Line::bad;
    event = {operand_, entry.row, entry.column, entry.value};
    return Line::entry;
  }

  std::optional<Event> mirror(const Event& event) const noexcept {
    if (!rules_.is_mirrored(event.i, event.j)) return std::nullopt;
    return Event{event.operand, event.j, event.i, rules_.mirrored(event.delta)};
  }

  const MatrixMarketLines& rules() const noexcept { return rules_; }

 private:
  MatrixMarketLines rules_;
  MatrixMarketHeader header_;  ///< Of the rules.
  Operand operand_;
};

class MatrixMarketDecoder final : public LineDecoder<MatrixMarketGrammar> {
 public:
  MatrixMarketDecoder(std::unique_ptr<Input> input, const ReadOptions& options, Part part,
                      const MatrixMarketHeader& header)
      : LineDecoder(std::move(input), options, std::move(part), MatrixMarketGrammar(header, options.default_operand),
                    MatrixMarketLines::longest, header.data_offset, header.size_line) {}

 private:
  bool ends_file() const noexcept override {
    return part().ends_file(input().size().value_or(std::numeric_limits<std::uint64_t>::max()));
  }

  void finish() override {
    if (!ends_file()) return;
    const MatrixMarketHeader& header = grammar().rules().header();
    std::uint64_t found = entries();
    if (const auto size = input().size()) {
      // One party counts the lines of the others, so that a wrong total is found whatever the number of parties.
      std::uint64_t from = data_begin();
      for (const FileRange& range : own()) {
        found += count_entries(from, range.begin, false);
        from = range.end;
      }
      found += count_entries(from, *size, false);
    }
    if (found != header.entries) throw InputError(grammar().rules().count_complaint(input().name(), found));
  }
};

}  // namespace

std::unique_ptr<Decoder> matrix_market_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                               const Limits& limits, Part part) {
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
  return std::make_unique<MatrixMarketDecoder>(std::move(input), options, std::move(part), header);
}

}  // namespace weir::stream

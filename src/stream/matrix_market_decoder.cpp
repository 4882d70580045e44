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

  MatrixMarketGrammar(const MatrixMarketLines& rules, Operand operand)
      : rules_(rules), header_(rules.header()), operand_(operand) {}

  const char* parse_plain(const char* p, Event& event) const noexcept {
    if (header_.format == MatrixMarketFormat::array) return nullptr;
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
  static bool is_comment(std::string_view line) noexcept { return MatrixMarketLines::is_comment(line); }

  Line parse(std::string_view line, Event& event, RowBatch&, std::string& reason) {
    MatrixMarketLines::Entry entry;
    if (!rules_.parse(line, event.i, entry, reason)) return Line::bad;
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
                      const MatrixMarketLines& rules)
      : LineDecoder(std::move(input), options, std::move(part), MatrixMarketGrammar(rules, options.default_operand),
                    MatrixMarketLines::longest, rules.header().data_offset, rules.header().size_line) {}

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

/// Finds out which triangle of a symmetric matrix a file lists, so that all slices of it ask for the same one. Of an input
/// that cannot seek, which has no slices, only what has been peeked at is looked at. The input stands anywhere afterwards if
/// it can seek.
void find_triangle(Input& input, MatrixMarketLines& rules) {
  const MatrixMarketHeader& header = rules.header();
  if (header.symmetry == MatrixMarketSymmetry::general || header.format == MatrixMarketFormat::array) return;
  const auto look_into = [&](std::string_view text) {
    TextLines lines(text);
    MatrixMarketLines::Entry entry;
    std::string reason;
    // The last line may be cut.
    while (const auto line = lines.next()) {
      if (rules.triangle() || (lines.offset() == text.size() && !text.ends_with('\n'))) return;
      if (line->size() <= MatrixMarketLines::longest && !MatrixMarketLines::is_nothing(*line))
        (void)rules.parse(*line, 0, entry, reason);
    }
  };
  look_into(input.peek(matrix_market_header_limit).substr(header.data_offset));
  if (rules.triangle() || !input.size()) return;
  LineBuffer lines(input, MatrixMarketLines::longest);
  lines.restrict_to(header.data_offset, *input.size());
  for (std::string_view run = lines.next_run(); !run.empty() && !rules.triangle(); run = lines.next_run())
    look_into(run);
}

}  // namespace

bool is_matrix_market_array(Input& input) {
  return parse_matrix_market_header(input.peek(matrix_market_header_limit), input.name()).format ==
         MatrixMarketFormat::array;
}

std::unique_ptr<Decoder> matrix_market_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                               const Limits& limits, Part part) {
  const MatrixMarketHeader header = parse_matrix_market_header(input->peek(matrix_market_header_limit), input->name());
  const Operand operand = options.default_operand;
  const auto refuse = [&](const std::string& reason) {
    throw InputError(fmt::format("{}:{}: {}", input->name(), header.size_line, reason));
  };
  if (!limits.takes(operand)) refuse(limits.complaint(operand));
  if (header.rows > limits.rows(operand) || header.columns > limits.columns(operand)) {
    refuse(has_column(operand) ? fmt::format("the matrix is {} x {}, but {} is {} x {}", header.rows, header.columns,
                                             to_string(operand), limits.rows(operand), limits.columns(operand))
                               : fmt::format("the matrix is {} x {}, but {} is a vector of {} entries", header.rows,
                                             header.columns, to_string(operand), limits.rows(operand)));
  }
  if (header.entries == 0)
    throw NoEvents(fmt::format("{}:{}", input->name(), header.size_line), ": the matrix has no entries");
  MatrixMarketLines rules(header);
  find_triangle(*input, rules);
  if (!input->size()) {
    std::vector<std::byte> skipped(header.data_offset);
    input->read_fully(skipped);
  }
  return std::make_unique<MatrixMarketDecoder>(std::move(input), options, std::move(part), rules);
}

}  // namespace weir::stream

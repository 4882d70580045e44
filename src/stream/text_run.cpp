#include "text_run.hpp"

#include <algorithm>
#include <limits>
#include <span>

namespace weir::stream {

TextRuns::TextRuns(const ReadOptions& options) : limits_(options), longest_line_(longest_text_line(limits_)) {
  options_.default_operand = options.default_operand;
  options_.edges = options.edges;
  options_.on_error = OnError::skip;
  options_.row_values = std::numeric_limits<std::size_t>::max();
}

TextRuns::Outcome TextRuns::decode(std::string_view lines, EventBatch& batch) const {
  Outcome outcome;
  batch.clear();
  outcome.lines = static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  if (outcome.lines == 0) return outcome;
  ReadOptions options = options_;
  // So that one call delivers all of them. An edge may be two events.
  options.batch = (options.edges == Edges::both ? 2 : 1) * static_cast<std::size_t>(outcome.lines);
  const auto decoder = text_decoder(memory_input(std::as_bytes(std::span(lines)), {}), options, limits_,
                                    Part{.name = {}, .may_be_empty = true});
  (void)decoder->next(batch, options.batch);
  outcome.skipped = decoder->skipped();
  if (const SkippedLine* first = decoder->first_skipped()) {
    outcome.first_line = first->line;
    outcome.first_reason = first->reason;
  }
  return outcome;
}

}  // namespace weir::stream

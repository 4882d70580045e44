#include "text_run.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

namespace weir::stream {

TextRuns::TextRuns(const ReadOptions& options) : limits_(options), longest_line_(longest_text_line(limits_, options)) {
  options_.default_operand = options.default_operand;
  options_.edges = options.edges;
  options_.columns = options.columns;
  options_.key_seed = options.key_seed;
  options_.names = options.names;
  options_.on_error = OnError::skip;
  options_.row_values = std::numeric_limits<std::size_t>::max();
}

TextRuns::Outcome TextRuns::decode(std::string_view lines, EventBatch& batch,
                                   const std::shared_ptr<const ColumnLayout>& layout) const {
  Outcome outcome;
  batch.clear();
  outcome.lines = static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  if (outcome.lines == 0) return outcome;
  ReadOptions options = options_;
  // So that one call delivers all of them. An edge may be two events.
  options.batch = (options.edges == Edges::both ? 2 : 1) * static_cast<std::size_t>(outcome.lines);
  auto input = memory_input(std::as_bytes(std::span(lines)), {});
  Part part{.name = {}, .may_be_empty = true};
  const auto decoder = layout ? column_decoder(std::move(input), options, limits_, std::move(part), layout)
                              : text_decoder(std::move(input), options, limits_, std::move(part));
  (void)decoder->next(batch, options.batch);
  outcome.skipped = decoder->skipped();
  if (const SkippedLine* first = decoder->first_skipped()) {
    outcome.first_line = first->line;
    outcome.first_reason = first->reason;
  }
  return outcome;
}

}  // namespace weir::stream

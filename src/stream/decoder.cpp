#include "decoder.hpp"

#include <fmt/format.h>

#include <utility>

#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir::stream {

Limits::Limits(const ReadOptions& options)
    : given_(!options.shapes.empty()), advice_(options.advice), shape_note_(options.shape_note) {
  if (!given_) {
    for (const Operand operand : known_operands()) {
      rows_[static_cast<std::size_t>(operand)] = index_limit;
      columns_[static_cast<std::size_t>(operand)] = has_column(operand) ? index_limit : 1;
    }
  }
  for (const OperandShape& shape : options.shapes) {
    rows_[static_cast<std::size_t>(shape.operand)] = std::min(shape.rows, index_limit);
    columns_[static_cast<std::size_t>(shape.operand)] =
        has_column(shape.operand) ? std::min(shape.columns, index_limit) : 1;
  }
  for (const Operand operand : known_operands()) {
    if (takes(operand)) taken_.insert(operand);
  }
}

std::string Limits::complaint(Operand operand, std::uint64_t i, std::uint64_t j) const {
  if (!takes(operand)) return complaint(operand);
  const bool row = i >= rows(operand);
  const auto index = fmt::format("{} = {} is too large", index_names(operand)[row ? 0 : 1], row ? i : j);
  if (!given_) return index + ": indices lie below 2^63";
  const std::string_view separator = shape_note_.empty() ? "" : "; ";
  if (!has_column(operand))
    return fmt::format("{}: {} has {} entries, counted from 0{}{}", index, to_string(operand), rows(operand), separator,
                       shape_note_);
  return fmt::format("{}: {} is {} x {}, counted from 0{}{}", index, to_string(operand), rows(operand),
                     columns(operand), separator, shape_note_);
}

std::string Limits::row_complaint(Operand operand, std::uint64_t found) const {
  const auto [least, most] = row_length(operand);
  if (least > most) {
    return fmt::format("{} has {} columns, but a whole row at most {} values", to_string(operand), least, most);
  }
  const std::string expected = least == most   ? fmt::format("the {} columns of {}", least, to_string(operand))
                               : found < least ? fmt::format("at least {}", least)
                                               : fmt::format("at most {}", most);
  return fmt::format("{} value: found {}, expected {}", found < least ? "missing" : "extra", found, expected);
}

std::string Limits::complaint(Operand operand) const {
  return fmt::format("{} is not an operand of this model, which takes {}{}{}", to_string(operand), to_string(taken_),
                     advice_.empty() ? "" : "; ", advice_);
}

std::vector<FileRange> in_order(std::vector<FileRange> ranges) {
  for (const FileRange& range : ranges) {
    if (range.begin > range.end)
      throw InputError(fmt::format("the range from {} to {} ends before it begins", range.begin, range.end));
  }
  std::erase_if(ranges, [](const FileRange& range) { return range.begin == range.end; });
  std::ranges::sort(ranges, {}, &FileRange::begin);
  std::size_t count = 0;
  for (const FileRange& range : ranges) {
    if (count > 0 && range.begin < ranges[count - 1].end) {
      throw InputError(fmt::format("the range from {} to {} and the one from {} to {} overlap", ranges[count - 1].begin,
                                   ranges[count - 1].end, range.begin, range.end));
    }
    if (count > 0 && range.begin == ranges[count - 1].end) {
      ranges[count - 1].end = range.end;
    } else {
      ranges[count++] = range;
    }
  }
  ranges.resize(count);
  return ranges;
}

std::vector<FileRange> Part::of_size(std::uint64_t size, std::uint64_t from) const {
  std::vector<FileRange> all = uncut();
  for (FileRange& range : all) range = {std::max(range.begin, from), std::max(range.end, from)};
  try {
    return share_of(all, size, slice, slice_count);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", name, error.what()));
  }
}

std::string Part::too_short_complaint(std::uint64_t begin, std::uint64_t events) const {
  return fmt::format("{}: the range from {} on begins behind the end, which is at {}", name, begin, events);
}

Progress::Progress(std::vector<FileRange> ranges) : ranges_(std::move(ranges)) {
  for (const FileRange& range : ranges_) all_ += range.end - range.begin;
}

BytesRead Progress::units() const noexcept {
  std::uint64_t left = 0;
  for (std::size_t range = at_; range < ranges_.size(); ++range) left += ranges_[range].end - ranges_[range].begin;
  return {all_ - left, all_};
}

std::vector<FileRange> Progress::rest() const {
  std::vector<FileRange> rest(ranges_.begin() + static_cast<std::ptrdiff_t>(at_), ranges_.end());
  std::erase_if(rest, [](const FileRange& range) { return range.begin == range.end; });
  return rest;
}

std::string form_of(Operand operand) {
  const auto [first, second] = index_names(operand);
  return has_column(operand) ? fmt::format("{},{},{},delta", to_string(operand), first, second)
                             : fmt::format("{},{},delta", to_string(operand), first);
}

std::array<char, 2> index_names(Operand operand) noexcept {
  if (operand == Operand::x) return {'j', ' '};
  if (operand == Operand::X) return {'j', 'k'};
  return {'i', 'j'};
}

}  // namespace weir::stream

namespace weir {

std::vector<FileRange> share_of(const std::vector<FileRange>& ranges, std::uint64_t size, std::uint32_t slice,
                                std::uint32_t slice_count) {
  if (slice >= slice_count) throw UsageError(fmt::format("slice {} of {} does not exist", slice, slice_count));
  std::vector<FileRange> all = stream::in_order(ranges);
  std::uint64_t total = 0;
  for (FileRange& range : all) {
    if (range.begin > size) {
      throw InputError(
          fmt::format("the range from {} to {} begins behind the end, which is at {}", range.begin, range.end, size));
    }
    range.end = std::min(range.end, size);
    total += range.end - range.begin;
  }
  // Counted from the first begin, leaving out what lies between the ranges.
  const std::uint64_t low = share(total, slice, slice_count);
  const std::uint64_t high = share(total, slice + std::uint64_t{1}, slice_count);
  std::vector<FileRange> own;
  std::uint64_t before = 0;
  for (const FileRange& range : all) {
    const std::uint64_t length = range.end - range.begin;
    const std::uint64_t begin = std::max(low, before);
    const std::uint64_t end = std::min(high, before + length);
    if (begin < end) own.push_back({range.begin + (begin - before), range.begin + (end - before)});
    before += length;
  }
  return own;
}

}  // namespace weir

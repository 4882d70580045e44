#include "decoder.hpp"

#include <fmt/format.h>

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

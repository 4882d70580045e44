// Matrices that were given whole: as events, and to be read again.

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "bindings.hpp"
#include "weir/error.hpp"

namespace weir::python {
namespace {

constexpr std::size_t numbers_at_once = std::size_t{1} << 16;

std::uint64_t checksum_of(const Reals& array) {
  return XXH3_64bits(array.data(), static_cast<std::size_t>(array.size()) * sizeof(double));
}

}  // namespace

void hand_out_rows(const RowsGiven& given, double resolution, const std::function<void(const EventBatch&)>& consume) {
  const std::size_t columns = static_cast<std::size_t>(given.columns), all = given.values.size() / columns;
  const std::size_t at_once = std::max<std::size_t>(1, numbers_at_once / columns);
  EventBatch batch;
  RowBatch& rows = batch.rows;
  for (std::size_t first = 0; first < all; first += at_once) {
    const std::size_t count = std::min(at_once, all - first);
    rows.operands.assign(count, given.operand);
    rows.i.resize(count);
    std::iota(rows.i.begin(), rows.i.end(), std::uint64_t{first});
    if (!given.i.empty()) std::ranges::copy(given.i.subspan(first, count), rows.i.begin());
    rows.weights.assign(count, 1.0);
    if (!given.weights.empty()) std::ranges::copy(given.weights.subspan(first, count), rows.weights.begin());
    const std::span<const double> entries = given.values.subspan(first * columns, count * columns);
    rows.values.assign(entries.begin(), entries.end());
    round_to(resolution, rows.values);
    rows.ends.resize(count);
    for (std::size_t t = 0; t < count; ++t) rows.ends[t] = (t + 1) * columns;
    consume(batch);
  }
}

GivenMatrix::GivenMatrix(Reals array) : array_(std::move(array)), checksum_(checksum_of(array_)) {}

void GivenMatrix::read(Operand operand, double resolution,
                       const std::function<void(const EventBatch&)>& consume) const {
  if (checksum_of(array_) != checksum_)
    throw InputError("the array of " + std::string(to_string(operand)) +
                     " was changed since the state was made from it: expected the same numbers, or verify=False");
  const std::uint64_t columns = array_.ndim() == 2 ? static_cast<std::uint64_t>(array_.shape(1)) : 1;
  hand_out_rows({.operand = operand, .columns = columns, .values = span_of(array_)}, resolution, consume);
}

bool GivenMatrix::operator==(const GivenMatrix& other) const noexcept {
  return checksum_ == other.checksum_ && array_.size() == other.array_.size();
}

void PartyWithMatrices::read_again(Operand operand, const std::function<void(const EventBatch&)>& consume) {
  matrices_.at(operand)->read(operand, resolution_, consume);
}

}  // namespace weir::python

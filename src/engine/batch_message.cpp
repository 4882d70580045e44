#include "engine/batch_message.hpp"

#include <cstdint>
#include <cstring>

namespace weir::engine {
namespace {

/// Copies `column`, behind its length, to the front of `out`, which becomes the rest.
template <class T>
void put_column(std::span<std::byte>& out, const std::vector<T>& column) {
  const std::uint64_t count = column.size();
  const std::size_t size = column.size() * sizeof(T);
  std::memcpy(out.data(), &count, sizeof count);
  if (size > 0) std::memcpy(out.data() + sizeof count, column.data(), size);
  out = out.subspan(sizeof count + size);
}

template <class T>
void take_column(std::span<const std::byte>& bytes, std::vector<T>& column) {
  std::uint64_t count = 0;
  std::memcpy(&count, bytes.data(), sizeof count);
  column.resize(static_cast<std::size_t>(count));
  const std::size_t size = column.size() * sizeof(T);
  if (size > 0) std::memcpy(column.data(), bytes.data() + sizeof count, size);
  bytes = bytes.subspan(sizeof count + size);
}

/// All columns of a batch, those of its rows last.
template <class Batch, class Visit>
void for_each_column(Batch& batch, const Visit& visit) {
  visit(batch.operands);
  visit(batch.i);
  visit(batch.j);
  visit(batch.delta);
  visit(batch.rows.operands);
  visit(batch.rows.i);
  visit(batch.rows.weights);
  visit(batch.rows.values);
  visit(batch.rows.ends);
}

}  // namespace

void pack(const EventBatch& batch, std::vector<std::byte>& out) {
  std::size_t size = 0;
  for_each_column(batch, [&](const auto& column) { size += sizeof(std::uint64_t) + column.size() * sizeof column[0]; });
  out.resize(size);
  std::span<std::byte> rest(out);
  for_each_column(batch, [&](const auto& column) { put_column(rest, column); });
}

void unpack(std::span<const std::byte> bytes, EventBatch& batch) {
  for_each_column(batch, [&](auto& column) { take_column(bytes, column); });
}

}  // namespace weir::engine

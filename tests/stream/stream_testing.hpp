#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/files.hpp"
#include "weir/error.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/writer.hpp"

namespace weir::testing_support {

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Everything that readers delivered.
struct Delivered {
  std::vector<Event> entries;
  RowBatch rows;

  void add(EventReader& reader) {
    EventBatch batch;
    while (reader.next(batch)) {
      EXPECT_FALSE(batch.empty());
      for (std::size_t t = 0; t < batch.size(); ++t) entries.push_back(batch[t]);
      for (std::size_t t = 0; t < batch.rows.size(); ++t)
        rows.push_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
    }
    EXPECT_TRUE(batch.empty());
  }
  bool operator==(const Delivered&) const = default;
};

/// The entries of a stream without whole rows.
inline std::vector<Event> drain(EventReader& reader) {
  Delivered delivered;
  delivered.add(reader);
  EXPECT_TRUE(delivered.rows.empty());
  return delivered.entries;
}

inline std::vector<Event> read_file(const std::string& path, const ReadOptions& options = {}) {
  EventReader reader({path}, options);
  return drain(reader);
}

inline std::vector<Event> read_text(std::string_view text, const ReadOptions& options = {}) {
  EventReader reader(as_bytes(text), "events", options);
  return drain(reader);
}

/// All slices one after the other.
inline std::vector<Event> read_slices(std::string_view text, ReadOptions options, std::uint32_t slice_count) {
  std::vector<Event> events;
  options.slice_count = slice_count;
  for (options.slice = 0; options.slice < slice_count; ++options.slice) {
    const auto part = read_text(text, options);
    events.insert(events.end(), part.begin(), part.end());
  }
  return events;
}

/// All slices one after the other, whole rows too.
inline Delivered deliver(std::string_view text, ReadOptions options = {}, std::uint32_t slice_count = 1) {
  Delivered delivered;
  options.slice_count = slice_count;
  for (options.slice = 0; options.slice < slice_count; ++options.slice) {
    EventReader reader(as_bytes(text), "events", options);
    delivered.add(reader);
  }
  return delivered;
}

/// The message of the InputError that `action` throws; empty when it throws none.
template <class Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

inline EventBatch batch_of(const std::vector<Event>& events) {
  EventBatch batch;
  for (const Event& event : events) batch.push_back(event);
  return batch;
}

inline void write_events(const std::string& path, const std::vector<Event>& events, EventFormat format) {
  EventWriter writer(path, format);
  writer.write(batch_of(events));
  writer.close();
}

}  // namespace weir::testing_support

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "weir/event.hpp"

namespace weir {

enum class EventFormat : std::uint8_t { text, binary };

/// The format that the name of an output file asks for: text for .csv, .tsv and .txt, otherwise binary.
[[nodiscard]] EventFormat format_of_name(const std::string& path);

/// Writes events as text (one a line: `i,delta` for y, else the operand first, as in `A,i,j,delta`, or
/// `A,i,*,v0,v1,...` for a whole row; the shortest digits that read back as the same number; when the name ends in .tsv,
/// with tabs instead of commas, and with the operand first for y, too) or in the binary format of binary.hpp, where a whole row becomes an event for each of
/// its non-zero entries. The file appears under its name, whole, when close() returns; "-" is standard output.
class EventWriter {
 public:
  /// Throws InputError when the file cannot be created.
  EventWriter(const std::string& path, EventFormat format);
  EventWriter(EventWriter&&) noexcept;
  EventWriter& operator=(EventWriter&&) noexcept;
  /// Without close(): leaves nothing behind, and what was under the name before untouched.
  ~EventWriter();

  /// Appends. Throws UsageError for an index of 2^63 or more, a column index of a vector other than 0, a delta that is
  /// not finite, or a row that no reader delivers; InputError when the disk is full or the like.
  void write(const EventBatch& batch);
  /// Events written so far; a whole row is one in text, in binary as many as it has non-zero entries.
  [[nodiscard]] std::uint64_t events() const noexcept;
  /// The last call. Throws InputError.
  void close();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace weir {

/// Names of indices: line i (counted from 0) of a text file, gzipped or not, names index i. The file stays on disk; only
/// wanted names are kept.
class Labels {
 public:
  /// Throws InputError when the file is missing or unreadable.
  explicit Labels(const std::string& path);

  /// Reads the file to its end and returns its lines, that is, one more than the last index that has a name. To be called
  /// before a long job: find() stops reading at the last name that is wanted, and comes too late for the user. Throws
  /// InputError when reading fails, or what is compressed is damaged. Time O(bytes), memory O(1).
  [[nodiscard]] std::uint64_t check() const;

  /// The names of `indices`, in one pass over the file up to the largest of them; indices past the last line have none.
  /// A name is cut after 1024 bytes. Throws InputError when reading fails, or what is compressed is damaged.
  [[nodiscard]] std::map<std::uint64_t, std::string> find(std::span<const std::uint64_t> indices) const;

 private:
  std::string path_;
};

}  // namespace weir

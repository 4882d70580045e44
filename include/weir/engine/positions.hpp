#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/stream/reader.hpp"

namespace weir::engine {

/// Where the sources of a stream stand: which of their events have been added to the states, and so which are still to be
/// read. It does not depend on how many ranks read them.
struct Positions {
  struct File {
    SourceInfo seen;                ///< What the root saw when the file was first opened.
    std::vector<FileRange> unread;  ///< Empty where it has been read to its end.

    bool operator==(const File&) const = default;
  };
  std::vector<File> files = {};   ///< In the order in which they are read.
  std::vector<File> arrays = {};  ///< Files that are read side by side, which have the same ranges, of rows.
  std::map<std::string, std::string> live = {};  ///< Of live sources, by name: LiveSource::position().
  /// How lines are read, as options of the program: "--key src --delta bytes". None of checkpoints that do not say.
  std::optional<std::string> reading = {};

  bool operator==(const Positions&) const = default;
};

/// One JSON object, for checkpoints and for messages between ranks.
[[nodiscard]] std::string to_text(const Positions& positions);
/// Inverse of to_text(). `source` names where the text comes from, in messages. Throws InputError for anything else.
[[nodiscard]] Positions positions_of_text(std::string_view text, const std::string& source);
/// What several ranks have not read, each of its own part of the same sources. Throws InputError when they are of
/// different sources.
[[nodiscard]] Positions merge(const std::vector<Positions>& parts);

}  // namespace weir::engine

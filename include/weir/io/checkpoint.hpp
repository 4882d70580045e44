#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/state/window.hpp"

namespace weir {

// A directory of checkpoints of a running measurement.
//
//     manifest-N.json   checkpoint number N: what it is made of, and where it stands. Written last.
//     state-N.weir      the sum that answers are about, as a saved state
//     epoch-E.weir      of windows of the last K epochs: epoch number E, which has ended. Checkpoints share them.
//     part-N.weir       likewise: the epoch that was in progress
//     lock              held by the process that writes
//
// A manifest is one JSON object with a checksum of its own (XXH64). It names its files with their sizes and the checksums
// in their headers. All files appear under their names when they are complete and on disk, so that whatever ends the
// process, the checkpoints before it are whole. The last two checkpoints are kept.

/// The version of manifests that is written.
inline constexpr std::uint32_t checkpoint_version = 1;

/// What a checkpoint says besides its states.
struct CheckpointInfo {
  std::uint64_t number = 0;            ///< Set by CheckpointDirectory::write().
  std::uint64_t epoch = 1;             ///< The epoch that is in progress, from 1.
  std::uint64_t updates_in_epoch = 0;  ///< Events of it so far.
  std::uint64_t all_updates = 0;       ///< Events since the stream began.
  std::uint64_t skipped = 0;           ///< Bad events that were left out.
  std::uint64_t ranks = 1;             ///< That have written it.
  double time = 0;                     ///< Unix time in seconds.
  bool is_final = false;               ///< The job had come to its end: the stream had, or it was told to stop.
  WindowOptions window = {};
  std::uint64_t window_epochs = 0;  ///< Window::epochs().
  bool window_is_open = false;      ///< Window::is_open().
  std::string positions = {};       ///< Of the sources, a JSON object.

  /// The number of the epoch that is part k, of `parts`, of a window of the last K: the newest one is the epoch in progress
  /// or, where that has not begun, the one before it.
  [[nodiscard]] std::uint64_t epoch_of_part(std::size_t k, std::size_t parts) const noexcept {
    return epoch - (window_is_open ? 0 : 1) - (parts - 1 - k);
  }

  bool operator==(const CheckpointInfo&) const = default;
};

/// A checkpoint as it was read.
struct Checkpoint {
  CheckpointInfo info;
  State sum;
  std::deque<State> epochs = {};  ///< Of windows of the last K epochs, the oldest first.
};

/// One of the states of a checkpoint: how to write it to a path.
using SaveState = std::function<void(const std::string& path)>;

/// The checkpoints in a directory. One process at a time writes to it.
class CheckpointDirectory {
 public:
  /// Makes the directory where it is missing, and locks it. Throws InputError when that fails, or when another process
  /// has locked it.
  explicit CheckpointDirectory(std::string path);
  ~CheckpointDirectory();
  CheckpointDirectory(CheckpointDirectory&&) noexcept;
  CheckpointDirectory& operator=(CheckpointDirectory&&) noexcept;

  [[nodiscard]] const std::string& path() const noexcept;
  /// True where there is no manifest.
  [[nodiscard]] bool is_empty() const;

  /// Writes a checkpoint: the sum, and the epochs of a window, the oldest first. Of those, the ones that an earlier
  /// checkpoint holds are not written again. Then removes what the last two checkpoints do not need. Throws InputError
  /// (a full disk); then the checkpoints before it are as they were.
  void write(CheckpointInfo info, const SaveState& sum, const std::vector<SaveState>& epochs = {});

  /// True where this object has written epoch number `epoch` of a window, so that write() does not write it again.
  [[nodiscard]] bool has_epoch(std::uint64_t epoch) const;
  /// The number of the newest checkpoint; 0 where there is none.
  [[nodiscard]] std::uint64_t last_number() const noexcept;

  /// The newest checkpoint that is whole; none where there are no manifests. `warn` is told of those that are damaged, and
  /// why. Throws InputError when all of them are, or when one was written by a newer version.
  [[nodiscard]] std::optional<Checkpoint> load(const std::function<void(const std::string&)>& warn) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// What the newest readable manifest of a directory says; for people who look in. Reads no state and takes no lock. Throws
/// InputError where there is none.
[[nodiscard]] CheckpointInfo newest_checkpoint(const std::string& directory);

}  // namespace weir

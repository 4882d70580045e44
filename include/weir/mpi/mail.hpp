#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "weir/mpi/communicator.hpp"

namespace weir::mpi {

/// A message from one rank to another. What its kind means is up to the two.
struct Letter {
  int source = 0;
  std::uint8_t kind = 0;
  std::vector<std::byte> bytes = {};
};

/// Messages between rank 0 and the other ranks that nobody waits for, on a communicator of their own. Those of one sender
/// arrive in the order in which they were posted.
class Mail {
 public:
  /// Collective. `communicator` may be destroyed before this.
  explicit Mail(const Communicator& communicator);
  /// Frees the communicator. Letters that were posted must have been taken; see finish().
  ~Mail();
  Mail(const Mail&) = delete;
  Mail& operator=(const Mail&) = delete;

  /// Sends a letter and returns at once; the bytes are kept until they have left. Throws UsageError for 2^31 bytes or
  /// more, and for a kind of 255.
  void local_post(int destination, std::uint8_t kind, std::vector<std::byte> bytes = {});
  /// The next letter that has arrived; none where none has. Of one kind, it may overtake those of others.
  [[nodiscard]] std::optional<Letter> local_take(std::optional<std::uint8_t> kind = {});
  /// Letters of this rank that have not left yet.
  [[nodiscard]] std::size_t local_unsent();

  /// Collective, when nobody will post any more: takes all letters that are still on their way, and forgets them.
  void finish();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir::mpi

#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "weir/event.hpp"

namespace weir::engine {

/// Replaces `out` with a batch as a message between ranks of one job: its columns, each behind its length. A reader's batch
/// has a few million bytes at most.
void pack(const EventBatch& batch, std::vector<std::byte>& out);
/// Inverse of pack(), for messages of this job.
void unpack(std::span<const std::byte> bytes, EventBatch& batch);

}  // namespace weir::engine

#pragma once

#include <memory>
#include <string>

#include "weir/stream/live_source.hpp"

namespace weir {

/// Opens the part of a Kafka topic that party `options.slice` of `options.slice_count` reads: the partitions p with
/// p mod slice_count == slice. `name` is kafka://HOST:PORT[,HOST:PORT...]/TOPIC[?OPTION=VALUE&...]; the options are
///   until=end          the end is where the partitions end when it is opened; without it, it never ends
///   timeout=SECONDS    how long opening waits for the brokers (10)
/// and properties of librdkafka (security.protocol=SSL, say), but for those that would spoil the positions.
///
/// A message holds text events, one a line, or one whole binary event stream (weir/stream/binary.hpp). Messages without
/// events are passed over.
///
/// position() is {"topic":"T","partitions":{"0":1234,"3":[77,17]}}: message 1234 of partition 0 is next; of message 77 of
/// partition 3, 17 events are done. Only the partitions of this part are in it; positions of other parts are merged
/// member by member, and each part takes its own out of the whole, whatever the number of parts was. A partition that
/// is not in a position begins at its first message. Positions are weir's alone: nothing is stored on the brokers.
///
/// Partitions that are added to the topic are found within seconds, and begin at their first message. Brokers that are
/// down are waited for; trouble() says so.
///
/// Opening takes round trips to the brokers, and waits for them until the timeout. Memory: up to 128 MiB of messages,
/// at most 500,000 of them, with about 300 bytes besides for each, are fetched ahead; the properties
/// queued.max.messages.kbytes (131072) and queued.min.messages (500000) change that.
///
/// Throws UsageError for a name that is not understood; InputError for a topic that does not exist, brokers that do not
/// answer, a position that is not of this topic, and a position whose messages are gone: those events are lost, and
/// going on is for the user to decide. next() throws the last also while it reads.
[[nodiscard]] std::unique_ptr<LiveSource> open_kafka_source(const std::string& name, const ReadOptions& options,
                                                            const std::string& position);

}  // namespace weir

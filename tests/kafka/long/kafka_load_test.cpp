// Rates of the Kafka source, beside those of librdkafka alone in the same run. The rates are printed; what is checked is that
// every event comes once, and bounds that hold on a machine that is busy with other things.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <thread>

#include "kafka/kafka_testing.hpp"
#include "weir/stream/generate.hpp"

namespace weir {
namespace {

using testing_support::Clock;
using testing_support::Cluster;
using testing_support::milliseconds;
using testing_support::Producer;
using testing_support::seconds;
using testing_support::text_of;
using testing_support::url;

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

double resident_mebibytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0;
  double resident = 0;
  statm >> size >> resident;
  return resident * 4096 / 1048576;
}

struct Cost {
  double wall = 0;
  double processor = 0;
  std::uint64_t amount = 0;  ///< Events or bytes.
};

class Stopwatch {
 public:
  [[nodiscard]] Cost cost(std::uint64_t amount) const {
    return {std::chrono::duration<double>(Clock::now() - wall_).count(), processor_seconds() - processor_, amount};
  }

 private:
  Clock::time_point wall_ = Clock::now();
  double processor_ = processor_seconds();
};

/// What librdkafka alone, set up as ours is, takes to deliver all messages of a topic, whose bytes are only counted.
/// Opening is not in it: from the first message on.
Cost read_raw(const std::string& brokers, int partitions) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char reason[256];
  for (const auto& [property, value] : {std::pair{"bootstrap.servers", brokers.c_str()},
                                        {"group.id", "raw"},
                                        {"enable.auto.commit", "false"},
                                        {"fetch.wait.max.ms", "10"},
                                        {"enable.partition.eof", "true"},
                                        {"check.crcs", "true"},
                                        {"queued.min.messages", "500000"},
                                        {"queued.max.messages.kbytes", "131072"}})
    rd_kafka_conf_set(conf, property, value, reason, sizeof reason);
  Stopwatch stopwatch;
  rd_kafka_t* handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
  rd_kafka_poll_set_consumer(handle);
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(partitions);
  for (int p = 0; p < partitions; ++p)
    rd_kafka_topic_partition_list_add(list, "t", p)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_assign(handle, list);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_queue_t* queue = rd_kafka_queue_get_consumer(handle);
  std::vector<rd_kafka_message_t*> messages(4096);
  std::uint64_t bytes = 0;
  for (int ends = 0; ends < partitions;) {
    auto count = rd_kafka_consume_batch_queue(queue, 0, messages.data(), messages.size());
    if (count == 0) count = rd_kafka_consume_batch_queue(queue, 200, messages.data(), 1);
    if (count > 0 && bytes == 0) stopwatch = {};
    for (ssize_t k = 0; k < count; ++k) {
      rd_kafka_message_t* message = messages[static_cast<std::size_t>(k)];
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) ++ends;
      if (message->err == 0) bytes += message->len;
      rd_kafka_message_destroy(message);
    }
  }
  const Cost cost = stopwatch.cost(bytes);
  rd_kafka_queue_destroy(queue);
  rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  return cost;
}

/// The same of ours.
Cost read_ours(const Cluster& cluster, std::uint64_t& sum) {
  Stopwatch stopwatch;
  const auto source = open_kafka_source(url(cluster, "?until=end"), {}, "");
  EventBatch batch;
  std::uint64_t events = 0;
  while (source->next(batch, 1 << 16, milliseconds(200))) {
    if (events == 0) stopwatch = {};
    events += batch.size();
    for (const std::uint64_t i : batch.i) sum += i;
  }
  return stopwatch.cost(events);
}

/// A message of 5 bytes an event: indices of four bytes, deltas of one.
struct Packed {
  std::string payload;
  std::uint64_t events = 13000;
  std::uint64_t sum = 0;  ///< Of the indices.

  Packed() {
    EventBatch batch;
    batch.resize(events);
    EventGenerator({.n = std::uint64_t{1} << 30, .events = events, .deltas = DeltaLaw::sign}).fill(0, batch);
    std::fill(batch.operands.begin(), batch.operands.end(), Operand::y);
    for (const std::uint64_t i : batch.i) sum += i;
    const testing_support::TemporaryDirectory directory;
    EventWriter writer(directory / "events", EventFormat::binary);
    writer.write(batch);
    writer.close();
    payload = testing_support::contents_of(directory / "events");
  }
};

struct Load {
  const char* name;
  std::string payload;
  std::uint64_t events;  ///< Of the payload,
  std::uint64_t sum;     ///< and of its indices.
  int messages;          ///< Of a partition.
};

TEST(KafkaLoad, RateBesideThatOfTheLibrary) {
  constexpr int partitions = 24;
  const Packed packed;
  std::vector<Load> loads{{"binary, 64 KB", packed.payload, packed.events, packed.sum, 0},
                          {"text, 64 KB", text_of(0, 8500), 8500, 8500 * 8499 / 2, 0},
                          {"text, one event", "123456,1\n", 1, 123456, 60000}};
  for (Load& load : loads) {
    // The mock keeps 5 MiB of a partition.
    if (load.messages == 0) load.messages = static_cast<int>(4500000 / load.payload.size());
    Cluster cluster(2);
    cluster.command("topic t " + std::to_string(partitions));
    {
      Producer producer(cluster.brokers(), "t");
      for (int m = 0; m < load.messages; ++m)
        for (int p = 0; p < partitions; ++p) producer.send(p, load.payload);
      producer.flush();
    }
    const std::uint64_t messages = static_cast<std::uint64_t>(load.messages) * partitions;
    for (int round = 0; round < 3; ++round) {
      const Cost raw = read_raw(cluster.brokers(), partitions);
      ASSERT_EQ(raw.amount, load.payload.size() * messages);
      std::uint64_t sum = 0;
      const Cost ours = read_ours(cluster, sum);
      ASSERT_EQ(ours.amount, load.events * messages);
      ASSERT_EQ(sum, load.sum * messages);
      const auto events = static_cast<double>(ours.amount);
      std::printf(
          "%-16s %6.1f M events/s (library alone %6.1f, ratio %.2f); %6.1f M a second of processor (library alone "
          "%6.1f, "
          "ratio %.2f); %.0f MiB resident\n",
          load.name, events / ours.wall / 1e6, events / raw.wall / 1e6, raw.wall / ours.wall,
          events / ours.processor / 1e6, events / raw.processor / 1e6, raw.processor / ours.processor,
          resident_mebibytes());
      std::fflush(stdout);
      // 10 million events a second and processor in packed binary messages is what is promised; measured: 200 million.
      if (load.payload.starts_with("\x89")) {
        EXPECT_GT(events / ours.processor, 1e7);
      }
    }
  }
}

/// For a minute: one producer, two readers of a part each, as fast as they go, which begin again from their
/// positions now and then.
TEST(KafkaLoad, AMinute) {
  constexpr int partitions = 16;
  const Packed packed;
  const std::uint64_t events_of_message = packed.events;
  const std::string& payload = packed.payload;
  // The mock keeps 5 MiB of a partition: 79 such messages. All that are on the way may be in a quarter of the partitions,
  // those of one reader on one broker.
  constexpr std::uint64_t outstanding = 12;
  Cluster cluster(2);
  cluster.command("topic t " + std::to_string(partitions));
  std::atomic<std::uint64_t> done{0};
  std::atomic<bool> failed{false};
  std::uint64_t sent = 0;
  std::atomic<bool> all_sent{false};
  const Clock::time_point begin = Clock::now();
  std::jthread sender([&] {
    Producer producer(cluster.brokers(), "t");
    while (Clock::now() - begin < seconds(60) && !failed) {
      if (sent * events_of_message > done + outstanding * partitions * events_of_message) {
        std::this_thread::sleep_for(milliseconds(1));
        continue;
      }
      producer.send(static_cast<std::int32_t>(sent++ % partitions), payload);
    }
    producer.flush();
    all_sent = true;
  });
  std::vector<std::uint64_t> sums(2);
  std::vector<std::uint64_t> counts(2);
  std::vector<double> most_resident(2);
  std::atomic<int> openings{0};
  const auto reader = [&](std::uint32_t slice) {
    std::string position;
    Clock::time_point until = Clock::now();
    std::unique_ptr<LiveSource> source;
    EventBatch batch;
    while (!failed && !(all_sent && done == sent * events_of_message)) {
      if (Clock::now() > begin + seconds(180)) failed = true;
      if (!source || (Clock::now() > until && !all_sent)) {
        if (source) position = source->position();
        source.reset();
        source = open_kafka_source(url(cluster), testing_support::part(slice, 2), position);
        until = Clock::now() + seconds(4 + slice * 3);
        ++openings;
      }
      source->next(batch, 1 << 16, milliseconds(20));
      for (const std::uint64_t i : batch.i) sums[slice] += i;
      counts[slice] += batch.size();
      done += batch.size();
      most_resident[slice] = std::max(most_resident[slice], resident_mebibytes());
    }
  };
  {
    const auto guarded = [&](std::uint32_t slice) {
      try {
        reader(slice);
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
        failed = true;
      }
    };
    std::jthread first([&] { guarded(0); });
    std::jthread second([&] { guarded(1); });
  }
  const double wall = std::chrono::duration<double>(Clock::now() - begin).count();
  sender.join();
  EXPECT_FALSE(failed);
  EXPECT_EQ(counts[0] + counts[1], sent * events_of_message);
  EXPECT_EQ(sums[0] + sums[1], sent * packed.sum);
  // Some of it would be lost by a reader that begins again anywhere else.
  EXPECT_GT(openings, 10);
  std::printf("%.0f M events in %.1f s: %.1f M events/s, %.0f MB/s, over %d openings; at most %.0f MiB resident\n",
              static_cast<double>(done) / 1e6, wall, static_cast<double>(done) / wall / 1e6,
              static_cast<double>(sent * payload.size()) / wall / 1e6, openings.load(),
              std::max(most_resident[0], most_resident[1]));
}

}  // namespace
}  // namespace weir

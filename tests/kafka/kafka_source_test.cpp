#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <stop_token>
#include <thread>

#include "kafka_testing.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"

namespace weir {
namespace {

using testing_support::binary_of;
using testing_support::Clock;
using testing_support::Cluster;
using testing_support::expect_error;
using testing_support::merged;
using testing_support::message_of;
using testing_support::milliseconds;
using testing_support::part;
using testing_support::Producer;
using testing_support::read;
using testing_support::seconds;
using testing_support::Tally;
using testing_support::text_of;
using testing_support::url;

void open_and_drop(const std::string& name, const ReadOptions& options = {}, const std::string& position = "") {
  (void)open_kafka_source(name, options, position);
}

TEST(KafkaSource, EveryEventOnceWhateverTheMessagesAreLike) {
  Cluster cluster(2);
  cluster.command("topic t 3");
  std::uint64_t n = 0;
  {
    Producer producer(cluster.brokers(), "t");
    for (int round = 0; round < 40; ++round) {
      const auto send = [&](std::string payload, std::uint64_t events) {
        producer.send((round + static_cast<int>(n)) % 3, payload);
        n += events;
      };
      send(std::to_string(n) + ",1", 1);  // a line without an end
      send(text_of(n, n + 1), 1);
      send("", 0);  // a tombstone
      send(text_of(n, n + 700), 700);
      send("# nothing\n\n", 0);
      send("\n" + text_of(n, n + 3) + "#\n", 3);
      send(binary_of(n, n + 1), 1);
      send(binary_of(n, n + 3000), 3000);
    }
    producer.flush();
  }
  for (const std::uint32_t parts : {1U, 2U, 3U, 5U}) {
    for (const std::size_t most : {std::size_t{7}, std::size_t{1000}, std::size_t{1} << 16}) {
      Tally tally(n);
      std::int64_t messages = 0;
      for (std::uint32_t slice = 0; slice < parts; ++slice) {
        const auto source = open_kafka_source(url(cluster, "?until=end"), part(slice, parts), "");
        read(*source, tally, most);
        EXPECT_EQ(source->lag()->amount, 0U);
        EXPECT_EQ(source->skipped(), 0U);
        const auto position = nlohmann::json::parse(source->position());
        EXPECT_EQ(position["topic"], "t");
        for (const auto& [id, offset] : position["partitions"].items()) {
          EXPECT_EQ(static_cast<std::uint32_t>(std::stoi(id)) % parts, slice);
          messages += offset.get<std::int64_t>();
        }
      }
      tally.expect_each_once(n);
      EXPECT_EQ(messages, 40 * 8);
    }
  }
}

#ifdef WEIR_KCAT
TEST(KafkaSource, ReadsWhatKcatSends) {
  Cluster cluster;
  cluster.command("topic t 2");
  const testing_support::TemporaryDirectory directory;
  const std::string lines = directory.write("events", text_of(0, 5000));
  const std::string kcat = std::string(WEIR_KCAT) + " -P -b " + cluster.brokers() + " -t t -p ";
  ASSERT_EQ(std::system((kcat + "0 -l " + lines).c_str()), 0);  // a line a message, without its end
  const std::string whole = directory.write("whole", text_of(5000, 9000));
  ASSERT_EQ(std::system((kcat + "1 " + whole).c_str()), 0);  // one message
  Tally tally(9000);
  const auto source = open_kafka_source(url(cluster, "?until=end"), {}, "");
  read(*source, tally);
  tally.expect_each_once(9000);
  EXPECT_EQ(nlohmann::json::parse(source->position())["partitions"], (nlohmann::json{{"0", 5000}, {"1", 1}}));
}
#endif

TEST(KafkaSource, ReadsWhatTheProducerPacks) {
  Cluster cluster;
  cluster.command("topic t 3");
  const testing_support::TemporaryDirectory directory;
  const std::string first = directory.write("first", text_of(0, 20000));
  const std::string second = directory.write("second", binary_of(20000, 30000));
  const std::string begin = std::string(WEIR_KAFKA_PRODUCE) + " " + cluster.brokers() + " t 3 ";
  ASSERT_EQ(std::system((begin + "65536 binary " + first + " >/dev/null").c_str()), 0);
  ASSERT_EQ(std::system((begin + "5000 text " + second + " >/dev/null").c_str()), 0);
  Tally tally(30000);
  read(*open_kafka_source(url(cluster, "?until=end"), {}, ""), tally);
  tally.expect_each_once(30000);
}

TEST(KafkaSource, GoesOnFromAnyPositionWithOtherParts) {
  Cluster cluster;
  cluster.command("topic t 5");
  std::uint64_t n = 0;
  std::mt19937_64 random(7);
  {
    Producer producer(cluster.brokers(), "t");
    for (int message = 0; message < 300; ++message) {
      const std::uint64_t events = random() % 3 == 0 ? 1 + random() % 9000 : 1 + random() % 5;
      producer.send(static_cast<std::int32_t>(random() % 5),
                    random() % 2 == 0 ? text_of(n, n + events) : binary_of(n, n + events));
      n += events;
    }
    producer.flush();
  }
  Tally tally(n);
  std::string position;
  int inside = 0;
  while (tally.events() < n) {
    const auto parts = static_cast<std::uint32_t>(1 + random() % 4);
    std::vector<std::unique_ptr<LiveSource>> sources;
    for (std::uint32_t slice = 0; slice < parts; ++slice)
      sources.push_back(open_kafka_source(url(cluster), part(slice, parts), position));
    EventBatch batch;
    const std::uint64_t stop = tally.events() + 1 + random() % (n / 12);
    while (tally.events() < std::min(n, stop)) {
      LiveSource& source = *sources[random() % parts];
      ASSERT_TRUE(source.next(batch, 1 + random() % 5000, milliseconds(5)));
      tally.add(batch);
    }
    position = merged(sources);
    inside += position.find('[') != std::string::npos ? 1 : 0;
  }
  tally.expect_each_once(n);
  EXPECT_GT(inside, 3);
  // Nothing is left.
  const auto source = open_kafka_source(url(cluster, "?until=end"), {}, position);
  read(*source, tally);
  EXPECT_EQ(tally.events(), n);
}

/// Whole rows and entries in one message: "the first k events" are the same ones in pieces of any size.
TEST(KafkaSource, GoesOnInsideOfMessagesWithRows) {
  Cluster cluster;
  cluster.command("topic t 1");
  std::string message;
  for (int k = 0; k < 30; ++k) {
    message += "A," + std::to_string(k) + ",0,1\n";
    if (k % 3 == 0) message += "A," + std::to_string(100 + k) + ",*,1,2\n";
  }
  Producer producer(cluster.brokers(), "t");
  producer.send(0, message);
  producer.flush();
  ReadOptions options;
  options.shapes = {{Operand::A, 200, 2}};
  std::vector<int> rows(200);
  std::string position;
  for (std::size_t most = 1; most < 12; ++most) {
    const auto source = open_kafka_source(url(cluster, "?until=end"), options, position);
    EventBatch batch;
    while (source->next(batch, most, seconds(10)) && batch.empty()) {
    }
    for (const std::uint64_t i : batch.i) ++rows[i];
    for (const std::uint64_t i : batch.rows.i) ++rows[i];
    position = source->position();
  }
  for (int k = 0; k < 30; ++k) {
    EXPECT_EQ(rows[static_cast<std::size_t>(k)], 1) << k;
    EXPECT_EQ(rows[static_cast<std::size_t>(100 + k)], k % 3 == 0 ? 1 : 0) << k;
  }
}

TEST(KafkaSource, BrokersThatAreDownAreWaitedFor) {
  Cluster cluster(2);
  cluster.command("topic t 4");
  constexpr std::uint64_t half = 60000;
  const auto produce = [&](std::uint64_t first) {
    Producer producer(cluster.brokers(), "t", 20);
    for (std::uint64_t k = first; k < first + half; k += 20)
      producer.send(static_cast<std::int32_t>(k / 20 % 4), text_of(k, k + 20));
    producer.flush();
  };
  produce(0);
  // Little is fetched ahead, so that most is still to be fetched.
  const auto source = open_kafka_source(url(cluster, "?queued.min.messages=1000"), {}, "");
  Tally tally(2 * half);
  read(*source, tally, 100, half / 3);
  for (int round = 0; round < 2; ++round) {
    cluster.command("down 0");
    EventBatch batch;
    const Clock::time_point deadline = Clock::now() + testing_support::patience;
    while (source->trouble().empty() && Clock::now() < deadline) {
      ASSERT_TRUE(source->next(batch, 100, milliseconds(20)));
      tally.add(batch);
    }
    EXPECT_NE(source->trouble(), "");
    EXPECT_LT(tally.events(), half);
    cluster.command(round == 0 ? "up 1" : "up 0");
    if (round == 0) {
      const std::uint64_t before = tally.events();
      read(*source, tally, 100, before + 100);
    }
  }
  read(*source, tally, 100, half);
  produce(half);
  read(*source, tally, 8192, 2 * half);
  tally.expect_each_once(2 * half);
  EXPECT_EQ(source->trouble(), "");
}

TEST(KafkaSource, ErrorsThatPassAreTriedAgain) {
  Cluster cluster;
  cluster.command("topic t 2");
  constexpr std::uint64_t n = 40000;
  Producer producer(cluster.brokers(), "t", 20);
  for (std::uint64_t k = 0; k < n; k += 10) producer.send(static_cast<std::int32_t>(k / 10 % 2), text_of(k, k + 10));
  producer.flush();
  const auto source = open_kafka_source(url(cluster, "?queued.min.messages=300&fetch.error.backoff.ms=10"), {}, "");
  Tally tally(n);
  // Not the leader; leader not available; timed out; broker not available; out of range, which is not true; storage; unknown.
  for (const int code : {6, 5, 7, 8, 1, 56, -1}) {
    cluster.command("errors 1 3 " + std::to_string(code));
    read(*source, tally, 50, tally.events() + n / 8);
  }
  read(*source, tally, 8192, n);
  tally.expect_each_once(n);
}

TEST(KafkaSource, MissingRightsEndTheReading) {
  Cluster cluster;
  cluster.command("topic t 1");
  Producer producer(cluster.brokers(), "t");
  producer.send(0, "1,1");
  producer.flush();
  // The mock puts errors into answers only where there is something to be fetched.
  cluster.command("errors 1 1 29");
  const auto source = open_kafka_source(url(cluster), {}, "");
  Tally tally(2);
  expect_error([&] { read(*source, tally); }, {url(cluster), "partition 0", "authorization"});
  // And so it stays.
  expect_error([&] { read(*source, tally); }, {"authorization"});
  EXPECT_EQ(tally.events(), 0U);
  EXPECT_EQ(source->position(), R"({"partitions":{"0":0},"topic":"t"})");
}

TEST(KafkaSource, BadMessages) {
  Cluster cluster;
  cluster.command("topic t 1");
  std::string damaged = binary_of(100, 3000);
  damaged[damaged.size() / 2] ^= 1;
  const std::string begin = url(cluster) + ": partition 0, offset ";
  struct Fault {
    std::string payload;
    std::string what;
    std::uint64_t bad;   ///< What is left out and counted,
    std::uint64_t good;  ///< and what is not.
  };
  const std::vector<Fault> faults{
      {"1,1\nrubbish\n2,1\n", ", line 2: ", 1, 2},
      {"nonsense", ", line 1: ", 1, 0},
      {std::string("\0\1\2", 3), ", line 1: ", 1, 0},
      {"1,1\n1,nan\n1,1,1,1,1\n", ", line 2: ", 2, 1},
      {"999999999999,1", ", line 1: i = 999999999999 is too large", 1, 0},
      {damaged, "the block is damaged: wrong checksum", 1, 0},
      {binary_of(0, 10).substr(0, 60), "truncated", 1, 0},
      {binary_of(0, 10).substr(0, 10), "truncated", 1, 0},
      {testing_support::gzip("1,1\n"), "compressed by gzip", 1, 0},
      {std::string(10000, 'x'), ", line 1: ", 1, 0},
  };
  ReadOptions options;
  options.shapes = {{Operand::y, 1000000, 1}};
  std::int64_t offset = 0;
  std::string position;
  std::uint64_t bad = 0;
  std::uint64_t good = 0;
  std::string first_complaint;
  Producer producer(cluster.brokers(), "t");
  for (const Fault& fault : faults) {
    producer.send(0, "5,1\n");
    producer.send(0, fault.payload);
    producer.send(0, "6,1\n");
    producer.flush();
    const auto source = open_kafka_source(url(cluster), options, position);
    EventBatch batch;
    // What comes before it is delivered.
    while (batch.empty()) ASSERT_TRUE(source->next(batch, 1, seconds(10)));
    EXPECT_EQ(batch.i, std::vector<std::uint64_t>{5});
    const std::string complaint = message_of<InputError>([&] {
      while (source->next(batch, 1000, seconds(10))) {
      }
    });
    EXPECT_TRUE(complaint.starts_with(begin + std::to_string(offset + 1))) << complaint;
    EXPECT_NE(complaint.find(fault.what), std::string::npos) << complaint;
    EXPECT_EQ(complaint.find('\n'), std::string::npos);
    if (first_complaint.empty()) first_complaint = complaint;
    offset += 3;
    bad += fault.bad;
    good += fault.good + 2;
    position = R"({"topic":"t","partitions":{"0":)" + std::to_string(offset) + "}}";
  }
  options.on_error = OnError::skip;
  for (const std::size_t most : {std::size_t{1}, std::size_t{8192}}) {
    const auto source = open_kafka_source(url(cluster, "?until=end"), options, "");
    EventBatch batch;
    std::uint64_t events = 0;
    while (source->next(batch, most, seconds(10))) events += batch.events();
    EXPECT_EQ(events, good);
    EXPECT_EQ(source->skipped(), bad);
    EXPECT_EQ(source->first_skipped(), first_complaint);
  }
}

TEST(KafkaSource, WhatIsDamagedOnTheWayIsFetchedAgain) {
  Cluster cluster;
  cluster.command("topic t 1");
  Producer producer(cluster.brokers(), "t", 1);
  for (std::uint64_t k = 0; k < 10000; k += 1000) {
    producer.send(0, text_of(k, k + 1000));
    producer.flush();
  }
  const std::string name = url(cluster, "?until=end&fetch.error.backoff.ms=10");
  Tally tally(10000);
  cluster.command("corrupt 2");
  const auto source = open_kafka_source(name, {}, "");
  read(*source, tally);
  tally.expect_each_once(10000);

  // Something that stays as it is ends the reading, also where bad events are skipped: nobody knows how many are lost.
  for (const OnError on_error : {OnError::stop, OnError::skip}) {
    cluster.command("corrupt 1000");
    ReadOptions options;
    options.on_error = on_error;
    Tally rest(10000);
    const auto other = open_kafka_source(name, options, R"({"topic":"t","partitions":{"0":4}})");
    expect_error([&] { read(*other, rest); },
                 {url(cluster) + ": partition 0, offset 4: the client cannot read", "in 3 attempts", "CRC"});
    EXPECT_EQ(rest.events(), 0U);
    EXPECT_EQ(other->position(), R"({"partitions":{"0":4},"topic":"t"})");
  }
  cluster.command("corrupt 0");
}

TEST(KafkaSource, NewPartitionsAreTakenUp) {
  Cluster cluster(2);
  cluster.command("topic t 7");
  cluster.command("show t 2");
  Producer producer(cluster.brokers(), "t");
  const auto produce = [&](std::int32_t partition, std::uint64_t first) {
    producer.send(partition, text_of(first, first + 100));
    producer.flush();
  };
  produce(0, 0);
  produce(1, 100);
  Tally tally(700);
  std::vector<std::unique_ptr<LiveSource>> sources;
  for (std::uint32_t slice = 0; slice < 3; ++slice)
    sources.push_back(open_kafka_source(url(cluster), part(slice, 3), ""));
  for (std::uint32_t slice = 0; slice < 2; ++slice) read(*sources[slice], tally, 30, 100 * (slice + 1));
  EXPECT_EQ(merged(sources), R"({"partitions":{"0":1,"1":1},"topic":"t"})");
  cluster.command("show t 7");
  Producer later(cluster.brokers(), "t");
  for (int p = 2; p < 7; ++p)
    later.send(p, text_of(static_cast<std::uint64_t>(p) * 100, static_cast<std::uint64_t>(p) * 100 + 100));
  later.flush();
  const Clock::time_point deadline = Clock::now() + testing_support::patience;
  EventBatch batch;
  while (tally.events() < 700 && Clock::now() < deadline) {
    for (const auto& source : sources) {
      ASSERT_TRUE(source->next(batch, 64, milliseconds(10)));
      tally.add(batch);
    }
  }
  tally.expect_each_once(700);
  EXPECT_EQ(merged(sources), R"({"partitions":{"0":1,"1":1,"2":1,"3":1,"4":1,"5":1,"6":1},"topic":"t"})");

  // Of a position from before they were there, they begin at the beginning.
  Tally rest(700);
  read(*open_kafka_source(url(cluster, "?until=end"), {}, R"({"topic":"t","partitions":{"0":0,"1":0}})"), rest);
  rest.expect_each_once(700);
}

/// The mock keeps 5 MiB of a partition.
void produce_mebibytes(Producer& producer, int mebibytes) {
  const std::string payload = "1,1\n#" + std::string(4000, ' ') + "\n";
  for (int k = 0; k < mebibytes * 256; ++k) producer.send(0, payload);
  producer.flush();
}

TEST(KafkaSource, MessagesThatAreGoneAreAnError) {
  Cluster cluster;
  cluster.command("topic t 1");
  Producer producer(cluster.brokers(), "t");
  producer.send(0, "1,1");
  producer.flush();
  const auto reader = open_kafka_source(url(cluster, "?queued.min.messages=1&queued.max.messages.kbytes=1"), {}, "");
  Tally tally(1 << 20);
  EventBatch batch;
  while (batch.empty()) ASSERT_TRUE(reader->next(batch, 1, seconds(10)));
  EXPECT_EQ(reader->position(), R"({"partitions":{"0":1},"topic":"t"})");
  produce_mebibytes(producer, 12);
  // While it reads. What was fetched before may still come.
  expect_error(
      [&] {
        while (reader->next(batch, 100, seconds(10))) {
        }
      },
      {url(cluster) + ": partition 0: offset ", "is next, but the messages before ", "events are lost"});
  // When it goes on.
  expect_error([&] { open_and_drop(url(cluster), {}, R"({"topic":"t","partitions":{"0":1}})"); },
               {url(cluster) + ": partition 0: offset 1 is next, but the messages before ", "events are lost"});
  expect_error([&] { open_and_drop(url(cluster), {}, R"({"topic":"t","partitions":{"0":[1,1]}})"); },
               {"events are lost"});
  expect_error([&] { open_and_drop(url(cluster), {}, R"({"topic":"t","partitions":{"0":1000000}})"); },
               {"partition 0: offset 1000000 is next, but the partition ends at 3073", "made anew"});
  expect_error([&] { open_and_drop(url(cluster), {}, R"({"topic":"t","partitions":{"0":[3073,1]}})"); },
               {"partition 0: offset 3073 is next, but the partition ends at 3073"});
  // The end is a position like others, and without a position the first message that is there is the first.
  open_and_drop(url(cluster), {}, R"({"topic":"t","partitions":{"0":3073}})");
  std::uint64_t events = 0;
  const auto whole = open_kafka_source(url(cluster, "?until=end"), {}, "");
  while (whole->next(batch, 8192, seconds(10))) events += batch.events();
  EXPECT_GT(events, 1000U);
  EXPECT_LT(events, 3073U);
}

TEST(KafkaSource, AMessageThatHasFewerEventsThanWereDone) {
  Cluster cluster;
  cluster.command("topic t 1");
  Producer producer(cluster.brokers(), "t");
  producer.send(0, text_of(0, 5));
  producer.flush();
  for (const OnError on_error : {OnError::stop, OnError::skip}) {
    ReadOptions options;
    options.on_error = on_error;
    const auto source = open_kafka_source(url(cluster), options, R"({"topic":"t","partitions":{"0":[0,6]}})");
    EventBatch batch;
    expect_error([&] { (void)source->next(batch, 10, seconds(10)); },
                 {"partition 0, offset 0: has 5 events, but the position is behind 6"});
  }
  const auto source = open_kafka_source(url(cluster, "?until=end"), {}, R"({"topic":"t","partitions":{"0":[0,5]}})");
  EventBatch batch;
  EXPECT_FALSE(source->next(batch, 10, seconds(10)));
}

TEST(KafkaSource, TheEndIsWhereItWasAtTheBeginning) {
  Cluster cluster;
  cluster.command("topic t 2");
  Producer producer(cluster.brokers(), "t");
  producer.send(0, text_of(0, 100));
  producer.flush();
  const auto source = open_kafka_source(url(cluster, "?until=end"), {}, "");
  producer.send(0, text_of(100, 200));
  producer.send(1, text_of(200, 300));
  producer.flush();
  // Time to fetch that, too, so that it is there when reading begins; nothing tells when it is.
  std::this_thread::sleep_for(milliseconds(500));
  Tally tally(300);
  read(*source, tally);
  tally.expect_each_once(100);
  EXPECT_EQ(source->position(), R"({"partitions":{"0":1,"1":0},"topic":"t"})");
  read(*open_kafka_source(url(cluster, "?until=end"), {}, source->position()), tally);
  tally.expect_each_once(300);
}

TEST(KafkaSource, LagIsWhatHasNotBeenDelivered) {
  Cluster cluster;
  cluster.command("topic t 2");
  Producer producer(cluster.brokers(), "t");
  for (int k = 0; k < 10; ++k) producer.send(k % 2, "1,1");
  producer.flush();
  const auto source = open_kafka_source(url(cluster), {}, "");
  ASSERT_TRUE(source->lag());
  EXPECT_EQ(source->lag()->unit, "records");
  EXPECT_EQ(source->lag()->amount, 10U);
  Tally tally(2);
  EventBatch batch;
  std::uint64_t events = 0;
  while (events < 4) {
    ASSERT_TRUE(source->next(batch, 1, seconds(10)));
    events += batch.events();
  }
  EXPECT_EQ(source->lag()->amount, 6U);
  for (int k = 0; k < 5; ++k) producer.send(k % 2, "1,1");
  producer.flush();
  while (events < 15) {
    ASSERT_TRUE(source->next(batch, 1, seconds(10)));
    events += batch.events();
  }
  EXPECT_EQ(source->lag()->amount, 0U);
}

TEST(KafkaSource, ATopicThatIsNotThere) {
  Cluster cluster;
  cluster.command("missing nothing");
  const Clock::time_point before = Clock::now();
  expect_error([&] { open_and_drop(url(cluster, "", "nothing")); },
               {url(cluster, "", "nothing"), "know no topic nothing"});
  EXPECT_LT(Clock::now() - before, seconds(8));
}

TEST(KafkaSource, NobodyThere) {
  // Nothing listens on port 1; names in .invalid exist nowhere (RFC 2606).
  const std::vector<std::array<std::string, 2>> hosts{{"127.0.0.1:1", "Connection refused"},
                                                      {"nowhere.invalid:9092", "resolve"}};
  for (const auto& [host, reason] : hosts) {
    const Clock::time_point before = Clock::now();
    expect_error([&] { open_and_drop("kafka://" + host + "/t?timeout=1.5&ssl.key.password=secret"); },
                 {"kafka://" + host + "/t: no broker answered within 1.5 s: ", reason, "timeout=SECONDS"});
    EXPECT_EQ(message_of<InputError>([&] {
                open_and_drop("kafka://" + host + "/t?timeout=0.1&ssl.key.password=secret");
              }).find("secret"),
              std::string::npos);
    EXPECT_LT(Clock::now() - before, seconds(10));
  }
}

TEST(KafkaSource, AStopEndsWaiting) {
  Cluster cluster;
  cluster.command("topic t 1");
  std::stop_source stop;
  ReadOptions options;
  options.stop = stop.get_token();
  const auto source = open_kafka_source(url(cluster), options, "");
  EventBatch batch;
  ASSERT_TRUE(source->next(batch, 10, milliseconds(1)));
  EXPECT_TRUE(batch.empty());
  const Clock::time_point before = Clock::now();
  std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(100));
    stop.request_stop();
  });
  EXPECT_THROW((void)source->next(batch, 10, seconds(60)), Cancelled);
  EXPECT_LT(Clock::now() - before, seconds(20));
  EXPECT_THROW((void)source->next(batch, 10, seconds(60)), Cancelled);
  // While it is opened, too.
  EXPECT_THROW(open_and_drop("kafka://127.0.0.1:1/t?timeout=60", options), Cancelled);
}

TEST(KafkaSource, EndsAtOnceWithMessagesLeftAndBrokersDown) {
  Cluster cluster;
  cluster.command("topic t 4");
  Producer producer(cluster.brokers(), "t");
  for (int k = 0; k < 20000; ++k) producer.send(k % 4, "1,1\n2,1\n");
  producer.flush();
  for (const bool down : {false, true}) {
    auto source = open_kafka_source(url(cluster), {}, "");
    EventBatch batch;
    while (batch.empty()) ASSERT_TRUE(source->next(batch, 3, seconds(10)));
    if (down) cluster.command("down 0");
    const Clock::time_point before = Clock::now();
    source.reset();
    EXPECT_LT(Clock::now() - before, seconds(5));
  }
}

TEST(KafkaSource, PositionsThatAreNotOfThisTopic) {
  Cluster cluster;
  cluster.command("topic t 2");
  const std::vector<std::array<std::string, 2>> positions{
      {"nonsense", "it is no JSON object"},
      {"[1]", "it is no JSON object"},
      {"{}", "it names no topic"},
      {R"({"topic":"u","partitions":{}})", R"(it is of topic "u")"},
      {R"({"topic":"t"})", "it has no partitions"},
      {R"({"topic":"t","partitions":[1]})", "it has no partitions"},
      {R"({"topic":"t","partitions":{"x":1}})", "partition x"},
      {R"({"topic":"t","partitions":{"-1":1}})", "partition -1"},
      {R"({"topic":"t","partitions":{"0":-1}})", "partition 0 has -1"},
      {R"({"topic":"t","partitions":{"0":1.5}})", "partition 0 has 1.5"},
      {R"({"topic":"t","partitions":{"0":[1]}})", "partition 0 has [1]"},
      {R"({"topic":"t","partitions":{"0":99999999999999999999}})", "partition 0 has 1e+20"},
      {R"({"topic":"t","partitions":{"2":0}})", "the position has partition 2, but the topic has 2 partitions"},
  };
  for (const auto& [position, what] : positions)
    expect_error([&, p = position] { open_and_drop(url(cluster), {}, p); }, {url(cluster), what});
}

TEST(KafkaSource, NamesThatAreNotUnderstood) {
  const std::vector<std::array<std::string, 2>> names{
      {"kafka:/h:1/t", "expected kafka://HOST:PORT"},
      {"kafka://h:1", "no topic is named"},
      {"kafka://h:1/", "'' cannot be a topic"},
      {"kafka://h:1/a b", "'a b' cannot be a topic"},
      {"kafka://h:1/a/b", "'a/b' cannot be a topic"},
      {"kafka://h/t", "'h' is not HOST:PORT"},
      {"kafka:///t", "'' is not HOST:PORT"},
      {"kafka://:1/t", "':1' is not HOST:PORT"},
      {"kafka://h:0/t", "'h:0' is not HOST:PORT"},
      {"kafka://h:65536/t", "'h:65536' is not HOST:PORT"},
      {"kafka://h:1x/t", "'h:1x' is not HOST:PORT"},
      {"kafka://h:1,/t", "'' is not HOST:PORT"},
      {"kafka://h:1/t?until=then", "option until=then: expected until=end"},
      {"kafka://h:1/t?timeout=0", "option timeout=0: expected a number of seconds"},
      {"kafka://h:1/t?timeout=1s", "option timeout=1s: expected a number of seconds"},
      {"kafka://h:1/t?until", "option 'until': expected OPTION=VALUE"},
      {"kafka://h:1/t?a=%4", "two hexadecimal digits"},
      {"kafka://h:1/t?a=%zz", "two hexadecimal digits"},
      {"kafka://h:1/t?a=%00", "two hexadecimal digits"},
      {"kafka://h:1/t?no.such.property=1", "No such configuration property"},
      {"kafka://h:1/t?fetch.wait.max.ms=soon", "fetch.wait.max.ms"},
      {"kafka://h:1/t?security.protocol=sasl_ssl&sasl.mechanism=none", "kafka://h:1/t: "},
  };
  for (const auto& [name, what] : names) expect_error<UsageError>([&, n = name] { open_and_drop(n); }, {what});
  for (const std::string property : {"group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset",
                                     "enable.partition.eof", "bootstrap.servers", "allow.auto.create.topics"}) {
    expect_error<UsageError>([&] { open_and_drop("kafka://h:1/t?" + property + "=1"); },
                             {"kafka://h:1/t: option " + property + " cannot be given: "});
  }
  expect_error<UsageError>([&] { open_and_drop("kafka://h:1/t", part(2, 2)); }, {"slice 2 of 2"});
}

TEST(KafkaSource, OptionsReachTheClient) {
  Cluster cluster;
  cluster.command("topic t 1");
  Producer producer(cluster.brokers(), "t");
  producer.send(0, text_of(0, 10));
  producer.flush();
  Tally tally(10);
  read(
      *open_kafka_source(url(cluster, "?client%2Eid=a%26b&until=end&security.protocol=plain%74ext&timeout=30"), {}, ""),
      tally);
  tally.expect_each_once(10);
}

}  // namespace
}  // namespace weir

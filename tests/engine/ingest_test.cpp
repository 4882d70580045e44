#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <new>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using testing_support::message_of;

struct TextStream {
  std::string text;
  std::vector<double> y;
};

TextStream whole_valued_stream(std::uint64_t n, int events) {
  std::mt19937_64 random(11);
  TextStream stream{{}, std::vector<double>(n)};
  for (int t = 0; t < events; ++t) {
    const std::uint64_t i = random() % n;
    const int delta = static_cast<int>(random() % 15) - 5;
    stream.y[i] += delta;
    stream.text += std::to_string(i) + "," + std::to_string(delta) + "\n";
  }
  return stream;
}

class EngineTest : public testing::Test {
 protected:
  mpi::Communicator world;
};

TEST_F(EngineTest, TogetherReturnsWhenNoRankFails) {
  bool ran = false;
  together(world, [&](mpi::FailureSignal&) { ran = true; });
  EXPECT_TRUE(ran);
}

TEST_F(EngineTest, TogetherThrowsTheErrorOfOneRankOnAll) {
  const int last = world.local_size() - 1;
  const auto fail_at_last = [&](const auto& fail) {
    return [&world = this->world, last, fail](mpi::FailureSignal&) {
      if (world.local_rank() == last) fail();
    };
  };
  EXPECT_NE(message_of<InputError>([&] {
              together(world, fail_at_last([] { throw InputError("bad data"); }));
            }).find("bad data"),
            std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] {
              together(world, fail_at_last([] { throw UsageError("bad wish"); }));
            }).find("bad wish"),
            std::string::npos);
  EXPECT_NE(message_of<InputError>([&] {
              together(world, fail_at_last([] { throw std::bad_alloc(); }));
            }).find("out of memory"),
            std::string::npos);
}

TEST_F(EngineTest, TogetherTellsBusyRanks) {
  // Every rank but the last works until it hears of the failure; without the signal this would not end.
  EXPECT_THROW(together(world,
                        [&](mpi::FailureSignal& signal) {
                          if (world.local_rank() == world.local_size() - 1) throw InputError("enough");
                          while (!signal.local_raised()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                        }),
               InputError);
}

TEST_F(EngineTest, RequireMemoryRefusesWhatNoMachineHas) {
  constexpr std::uint64_t small = 1 << 20, huge = std::uint64_t{1} << 60;
  EXPECT_NO_THROW(require_memory(world, small, small, "a table"));
  for (const auto& [everywhere, more_on_root] : {std::pair{huge, small}, std::pair{small, huge}}) {
    const std::string message =
        message_of<InputError>([&] { require_memory(world, everywhere, more_on_root, "a table"); });
    EXPECT_NE(message.find("a table"), std::string::npos) << message;
  }
}

TEST_F(EngineTest, IngestHandsOutEveryEventExactlyOnce) {
  const TextStream first = whole_valued_stream(100, 20000);
  const SharedFile a(world, "a.csv", first.text);
  const SharedFile b(world, "b.csv", "7,1\n8,2\n");
  std::vector<double> local(100);
  const IngestStatistics statistics =
      ingest(world, {{a.path(), b.path()}}, {{Operand::y, 100, 1}}, Operand::y, [&](const EventBatch& batch) {
        for (std::size_t t = 0; t < batch.size(); ++t) local[batch.i[t]] += batch.delta[t];
      });
  EXPECT_EQ(statistics.updates, 20002u);
  EXPECT_EQ(statistics.skipped, 0u);
  world.reduce_sum(local);
  if (!world.local_is_root()) return;
  std::vector<double> expected = first.y;
  expected[7] += 1;
  expected[8] += 2;
  EXPECT_EQ(local, expected);
}

/// Rows and entries of a 40 x 3 matrix of whole numbers, and the matrix that they leave, row after row.
TextStream rows_and_entries(int events) {
  std::mt19937_64 random(13);
  TextStream stream{{}, std::vector<double>(40 * 3)};
  const auto number = [&] { return static_cast<int>(random() % 15) - 7; };
  for (int t = 0; t < events; ++t) {
    const std::uint64_t i = random() % 40;
    if (t % 4 == 0) {
      const std::uint64_t j = random() % 3;
      const int delta = number();
      stream.y[i * 3 + j] += delta;
      stream.text += "A," + std::to_string(i) + "," + std::to_string(j) + "," + std::to_string(delta) + "\n";
    } else {
      const int weight = random() % 2 == 0 ? 1 : -1;
      stream.text += "A," + std::to_string(i) + (weight > 0 ? ",*" : ",-*");
      for (std::uint64_t j = 0; j < 3; ++j) {
        const int value = number();
        stream.y[i * 3 + j] += weight * value;
        stream.text += "," + std::to_string(value);
      }
      stream.text += "\n";
    }
  }
  return stream;
}

/// Adds what `batch` does to a matrix of three columns.
void add_to(std::vector<double>& matrix, const EventBatch& batch) {
  for (std::size_t t = 0; t < batch.size(); ++t) matrix[batch.i[t] * 3 + batch.j[t]] += batch.delta[t];
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const std::span<const double> row = batch.rows.row(t);
    for (std::size_t j = 0; j < row.size(); ++j) matrix[batch.rows.i[t] * 3 + j] += batch.rows.weights[t] * row[j];
  }
}

class DeliveryTest : public EngineTest, public testing::WithParamInterface<Delivery> {};

TEST_P(DeliveryTest, WholeRowsArriveFromFilesAndPipes) {
  const TextStream stream = rows_and_entries(20000);
  const SharedFile file(world, "rows.csv", stream.text);
  // A pipe that the root alone opens, filled by a thread because it holds less than the stream.
  std::array<int, 2> ends{-1, -1};
  std::thread writer;
  if (world.local_is_root()) {
    ASSERT_EQ(::pipe(ends.data()), 0);
    writer = std::thread([&] {
      for (std::size_t done = 0; done < stream.text.size();) {
        const ssize_t count = ::write(ends[1], stream.text.data() + done, stream.text.size() - done);
        ASSERT_GT(count, 0);
        done += static_cast<std::size_t>(count);
      }
      ::close(ends[1]);
    });
  }
  const int descriptor = static_cast<int>(world.broadcast(static_cast<std::uint64_t>(std::max(ends[0], 0))));
  std::vector<double> local(stream.y.size());
  const IngestStatistics statistics = ingest(
      world, {{file.path(), "/dev/fd/" + std::to_string(descriptor)}}, {{Operand::A, 40, 3}}, Operand::A,
      [&](const EventBatch& batch) { add_to(local, batch); }, GetParam());
  if (world.local_is_root()) {
    writer.join();
    ::close(ends[0]);
  }
  EXPECT_EQ(statistics.updates, 40000u);
  std::vector<double> expected = stream.y;
  for (double& value : expected) value *= 2;
  if (GetParam() == Delivery::every_rank) {
    EXPECT_EQ(local, expected);
    return;
  }
  world.reduce_sum(local);
  if (world.local_is_root()) {
    EXPECT_EQ(local, expected);
  }
}

TEST_P(DeliveryTest, BadLinesAreCountedOnceAndErrorsReachAllRanks) {
  std::string text;
  for (int k = 0; k < 5000; ++k) text += k % 50 == 0 ? "broken\n" : "1,1\n";
  const SharedFile file(world, "bad.csv", text);
  const auto read = [&](OnError on_error) {
    return ingest(
        world, {{file.path()}, on_error}, {{Operand::y, 2, 1}}, Operand::y, [](const EventBatch&) {}, GetParam());
  };
  const IngestStatistics statistics = read(OnError::skip);
  EXPECT_EQ(statistics.updates, 4900u);
  EXPECT_EQ(statistics.skipped, 100u);
  // Of a file in slices any rank may be the first to come upon a broken line, and each fiftieth is one.
  const std::string message = message_of<InputError>([&] { read(OnError::stop); });
  const std::string place = file.path() + ":";
  const std::size_t start = message.find(place);
  ASSERT_NE(start, std::string::npos) << message;
  const unsigned long line = std::stoul(message.substr(start + place.size()));
  EXPECT_EQ(line % 50, 1u) << message;
  if (GetParam() == Delivery::every_rank) {
    EXPECT_EQ(line, 1u) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(OneOrEvery, DeliveryTest, testing::Values(Delivery::one_rank, Delivery::every_rank),
                         [](const auto& instance) {
                           return std::string(instance.param == Delivery::one_rank ? "OneRank" : "EveryRank");
                         });

TEST_F(EngineTest, IngestFailsOnAllRanksWithTheLineOfOne) {
  std::string text;
  for (int k = 0; k < 20000; ++k) text += "1,1\n";
  const SharedFile file(world, "late.csv", text + "broken\n");
  const std::string message = message_of<InputError>([&] {
    ingest(world, {{file.path()}}, {{Operand::y, 10, 1}}, Operand::y, [](const EventBatch&) {});
  });
  EXPECT_NE(message.find("late.csv:20001"), std::string::npos) << message;
}

TEST_F(EngineTest, IngestPassesOnTheErrorOfAConsumer) {
  const SharedFile file(world, "one.csv", "1,1\n");
  EXPECT_THROW(ingest(world, {{file.path()}}, {{Operand::y, 10, 1}}, Operand::y,
                      [](const EventBatch&) { throw InputError("no more"); }),
               InputError);
}

TEST_F(EngineTest, IngestRefusesStandardInputTwice) {
  EXPECT_THROW(ingest(world, {{"-", "-"}}, {}, Operand::y, [](const EventBatch&) {}), UsageError);
}

}  // namespace
}  // namespace weir::engine

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/engine/job.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using testing_support::message_of;

struct Stream {
  std::string text;
  std::vector<double> y;
};

Stream whole_valued_stream(std::uint64_t n, int events) {
  std::mt19937_64 random(11);
  Stream stream{{}, std::vector<double>(n)};
  for (int t = 0; t < events; ++t) {
    const std::uint64_t i = random() % n;
    const int delta = static_cast<int>(random() % 15) - 5;
    stream.y[i] += delta;
    stream.text += std::to_string(i) + "," + std::to_string(delta) + "\n";
  }
  return stream;
}

SketchConfig small_config(std::uint64_t n) {
  SketchConfig config;
  config.dimension = n;
  config.buckets = 64;
  config.lanes = 8;
  config.seed = 5;
  return config;
}

class EngineTest : public testing::Test {
 protected:
  mpi::Communicator world;
  [[nodiscard]] std::uint64_t ranks() const { return static_cast<std::uint64_t>(world.local_size()); }
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
  const Stream first = whole_valued_stream(100, 20000);
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
Stream rows_and_entries(int events) {
  std::mt19937_64 random(13);
  Stream stream{{}, std::vector<double>(40 * 3)};
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
  const Stream stream = rows_and_entries(20000);
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

TEST_F(EngineTest, MergedTablesAreThoseOfOneRankToTheBit) {
  constexpr std::uint64_t n = 500;
  const Stream stream = whole_valued_stream(n, 30000);
  const SharedFile file(world, "stream.csv", stream.text);
  Model model = VectorModel(n);
  const JobResult result = run_job(world, model, {small_config(n), Exact::on_root}, {{{file.path()}}});
  EXPECT_EQ(result.ingest.updates, 30000u);
  if (!world.local_is_root()) return;

  // y itself, known from the generator, in one update a coordinate.
  VectorSketch expected(small_config(n));
  std::vector<std::uint64_t> keys(n);
  for (std::uint64_t i = 0; i < n; ++i) keys[i] = i;
  expected.update(keys, stream.y);
  EXPECT_TRUE(std::ranges::equal(result.y.y().table(), expected.table()));
  EXPECT_TRUE(std::ranges::equal(result.y.dense->table(), stream.y));
}

TEST_F(EngineTest, RealValuedTablesAgreeUpToRounding) {
  constexpr std::uint64_t n = 500;
  std::mt19937_64 random(12);
  std::vector<std::uint64_t> keys(20000);
  std::vector<double> deltas(keys.size());
  std::string text;
  for (std::size_t t = 0; t < keys.size(); ++t) {
    keys[t] = random() % n;
    deltas[t] = (static_cast<double>(random() % 2000001) - 1e6) / 7e4;
    std::array<char, 64> line{};  // 17 digits say which double it is
    std::snprintf(line.data(), line.size(), "%llu,%.17g\n", static_cast<unsigned long long>(keys[t]), deltas[t]);
    text += line.data();
  }
  const SharedFile file(world, "real.csv", text);
  Model model = VectorModel(n);
  const JobResult result = run_job(world, model, {small_config(n), Exact::none}, {{{file.path()}}});
  if (!world.local_is_root()) return;

  VectorSketch expected(small_config(n));
  expected.update(keys, deltas);
  double largest = 0, difference = 0;
  for (std::size_t k = 0; k < expected.table().size(); ++k) {
    largest = std::max(largest, std::abs(expected.table()[k]));
    difference = std::max(difference, std::abs(expected.table()[k] - result.y.y().table()[k]));
  }
  EXPECT_GT(largest, 0);
  EXPECT_LE(difference, 1e-12 * largest);
}

TEST_F(EngineTest, AStreamGoesOnFromAState) {
  constexpr std::uint64_t n = 50;
  const SharedFile file(world, "rest.csv", "3,4\n5,-2\n");
  std::optional<SketchState> start;
  VectorSketch expected(small_config(n));
  const std::vector<std::uint64_t> before{1, 3}, after{1, 3, 5};
  const std::vector<double> before_deltas{10, 1}, after_deltas{10, 5, -2};
  if (world.local_is_root()) {
    VectorSketch saved(small_config(n));
    saved.update(before, before_deltas);
    start.emplace(std::move(saved));
  }
  Model model = VectorModel(n);
  const JobResult result = run_job(world, model, {small_config(n), Exact::none}, {{{file.path()}}}, std::move(start));
  expected.update(after, after_deltas);
  if (!world.local_is_root()) return;
  EXPECT_TRUE(std::ranges::equal(result.y.y().table(), expected.table()));
}

TEST_F(EngineTest, ProductsAreMultipliedBeforeTheyAreMerged) {
  const SharedFile file(world, "a.csv", "A,1,0,2\nA,1,1,3\nA,4,1,-1\n");
  Model model = ProductModel(6, {10, 100});
  const JobResult result = run_job(world, model, {std::nullopt, Exact::on_root}, {{{file.path()}}});
  if (!world.local_is_root()) return;
  const std::vector<double> expected{0, 320, 0, 0, -100, 0};
  EXPECT_TRUE(std::ranges::equal(result.y.dense->table(), expected));
}

TEST_F(EngineTest, ProductsOfWholeRows) {
  const SharedFile file(world, "rows.csv", "A,1,*,2,3\nA,4,0,7\nA,4,-*,7,1\n");
  Model model = ProductModel(6, {10, 100});
  const JobResult result = run_job(world, model, {std::nullopt, Exact::on_root}, {{{file.path()}}});
  EXPECT_EQ(result.ingest.updates, 3u);
  if (!world.local_is_root()) return;
  const std::vector<double> expected{0, 320, 0, 0, -100, 0};
  EXPECT_TRUE(std::ranges::equal(result.y.dense->table(), expected));
}

TEST_F(EngineTest, DifferentSketchesDoNotMerge) {
  const SharedFile file(world, "one.csv", "1,1\n");
  SketchConfig config = small_config(10);
  config.seed = static_cast<std::uint64_t>(world.local_rank());
  Model model = VectorModel(10);
  const auto run = [&] { std::ignore = run_job(world, model, {config, Exact::none}, {{{file.path()}}}); };
  if (ranks() == 1) {
    EXPECT_NO_THROW(run());
  } else {
    EXPECT_THROW(run(), InputError);
  }
}

TEST_F(EngineTest, SumsThatOverflowAreAnError) {
  const SharedFile file(world, "large.csv", "1,1e308\n1,1e308\n1,1e308\n1,1e308\n");
  Model model = VectorModel(10);
  EXPECT_THROW(std::ignore = run_job(world, model, {small_config(10), Exact::none}, {{{file.path()}}}), InputError);
  EXPECT_THROW(std::ignore = run_job(world, model, {std::nullopt, Exact::on_root}, {{{file.path()}}}), InputError);
}

TEST_F(EngineTest, SquaresThatUnderflowAreAnError) {
  const SharedFile file(world, "small.csv", "1,1e-200\n2,3e-200\n");
  Model model = VectorModel(10);
  for (const Measure& measure : {Measure{small_config(10), Exact::none}, Measure{std::nullopt, Exact::on_root}}) {
    const std::string message =
        message_of<InputError>([&] { std::ignore = run_job(world, model, measure, {{{file.path()}}}); });
    EXPECT_NE(message.find("too small"), std::string::npos) << message;
  }
}

TEST_F(EngineTest, ImpossibleShapesAreUsageErrors) {
  SketchConfig config = small_config(10);
  config.buckets = 3;
  Model model = VectorModel(10);
  EXPECT_THROW(std::ignore = run_job(world, model, {config, Exact::none}, {}), UsageError);
}

}  // namespace
}  // namespace weir::engine

// Kronecker products and rows through the whole job, at 1 to 4 ranks: the joint laws of the draws, and what is exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/engine/job.hpp"
#include "weir/engine/streamed_factor_job.hpp"
#include "weir/error.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/two_stage.hpp"

namespace weir::engine {
namespace {

using testing_support::message_of;

/// There are fewer than 100 decisions in this file, at any number of ranks.
constexpr double significance = 1e-5;

std::vector<double> whole_numbers(std::uint64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> values(count);
  for (double& value : values) value = static_cast<double>(random() % 9) - 4;
  return values;
}

/// Whole-valued operands: zero rows, equal rows, heavy ones; an X of rank 2.
struct Operands {
  KroneckerShape shape{.n1 = 12, .n2 = 9, .d1 = 3, .d2 = 4};
  std::vector<double> a1 = whole_numbers(12 * 3, 1);
  std::vector<double> a2 = whole_numbers(9 * 4, 2);
  std::vector<double> x{1, 0, 2, -1, 0, 3, 1, 1, 1, 3, 3, 0};

  Operands() {
    for (std::size_t j = 0; j < 3; ++j) {
      a1[5 * 3 + j] = 0;
      a1[8 * 3 + j] = a1[7 * 3 + j];
      a1[2 * 3 + j] = 9 + static_cast<double>(j);
    }
    for (std::size_t j = 0; j < 4; ++j) a2[6 * 4 + j] = 7 - static_cast<double>(j);
  }
  /// y as a matrix, row by row.
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> y(shape.n1 * shape.n2);
    for (std::uint64_t i1 = 0; i1 < shape.n1; ++i1)
      for (std::uint64_t i2 = 0; i2 < shape.n2; ++i2)
        for (std::uint64_t j = 0; j < shape.d1; ++j)
          for (std::uint64_t k = 0; k < shape.d2; ++k)
            y[i1 * shape.n2 + i2] += a1[i1 * shape.d1 + j] * x[j * shape.d2 + k] * a2[i2 * shape.d2 + k];
    return y;
  }
  [[nodiscard]] double squared_norm() const {
    double sum = 0;
    for (const double entry : y()) sum += entry * entry;
    return sum;
  }
  [[nodiscard]] std::vector<double> law() const {
    std::vector<double> law = y();
    for (double& entry : law) entry *= entry / squared_norm();
    return law;
  }
};

/// Entries in parts that cancel, in random order.
std::string entries(const std::string& operand, std::span<const double> matrix, std::uint64_t columns) {
  std::vector<std::string> lines;
  for (std::size_t t = 0; t < matrix.size(); ++t) {
    const std::string place = operand + "," + std::to_string(t / columns) + "," + std::to_string(t % columns) + ",";
    lines.push_back(place + std::to_string(static_cast<int>(matrix[t]) - 6) + "\n");
    lines.push_back(place + "6\n");
  }
  std::shuffle(lines.begin(), lines.end(), std::mt19937_64(4));
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

/// Whole rows; row 1 comes once more and leaves.
std::string rows(const std::string& operand, std::span<const double> matrix, std::uint64_t columns) {
  const auto row = [&](std::uint64_t i, const std::string& mark) {
    std::string line = operand + "," + std::to_string(i) + "," + mark;
    for (std::uint64_t j = 0; j < columns; ++j) line += "," + std::to_string(static_cast<int>(matrix[i * columns + j]));
    return line + "\n";
  };
  std::string text;
  for (std::uint64_t i = 0; i < matrix.size() / columns; ++i) text += row(i, "*");
  return text + row(1, "*") + row(1, "-*");
}

class TensorJobTest : public testing::Test {
 protected:
  mpi::Communicator world;
  Operands operands;
  SharedFile a1_entries{world, "a1.csv", entries("A1", operands.a1, 3)};
  SharedFile a1_rows{world, "a1_rows.csv", rows("A1", operands.a1, 3)};
  SharedFile a2_entries{world, "a2.csv", entries("A2", operands.a2, 4)};
  SharedFile a2_rows{world, "a2_rows.csv", rows("A2", operands.a2, 4)};
  SharedFile x_entries{world, "x.csv", entries("X", operands.x, 4)};

  [[nodiscard]] DenseMatrix core() const { return {3, 4, operands.x}; }

  [[nodiscard]] FactorJobResult stream_a1(const SketchConfig& config, const std::string& path) const {
    return run_streamed_factor_job(world, operands.shape, Operand::A1, core(), config, 1024,
                                   {.stream = {{path}}, .fixed_factor = a2_rows.path()});
  }
  [[nodiscard]] FactorJobResult stream_a2(const SketchConfig& config, const std::string& path) const {
    return run_streamed_factor_job(world, operands.shape, Operand::A2, core(), config, 1024,
                                   {.stream = {{path}}, .fixed_factor = a1_entries.path()});
  }
  void expect_law(const SampleResult& result, std::uint64_t draws, const std::string& what) const {
    std::vector<std::uint64_t> counts(operands.y().size());
    for (const Draw& draw : result.draws) ++counts[draw.index * operands.shape.n2 + draw.column.value()];
    EXPECT_GE(result.draws.size(), draws) << what;
    EXPECT_GT(statistics::chi_squared_fit(counts, operands.law()).p_value, significance) << what;
  }
};

TEST_F(TensorJobTest, OneStreamedFactorMakesTheTablesOfYToTheBit) {
  const std::vector<double> y = operands.y();
  for (const std::uint32_t levels : {1U, 2U}) {
    SketchConfig config{.dimension = 12 * 9, .buckets = 64, .lanes = 8, .levels = levels, .seed = 5, .row_length = 9};
    VectorSketch expected(config);
    for (std::uint64_t key = 0; key < y.size(); ++key) expected.update(std::array{key}, std::array{y[key]});
    for (const std::string& path : {a1_entries.path(), a1_rows.path()}) {
      const FactorJobResult job = stream_a1(config, path);
      EXPECT_EQ(job.ingest.updates, path == a1_rows.path() ? 14u : 72u);
      if (!world.local_is_root()) continue;
      EXPECT_TRUE(std::ranges::equal(job.y.table(), expected.table()));
    }
    config.row_length = 12;
    VectorSketch transposed(config);
    for (std::uint64_t i1 = 0; i1 < 12; ++i1)
      for (std::uint64_t i2 = 0; i2 < 9; ++i2) transposed.update(std::array{i2 * 12 + i1}, std::array{y[i1 * 9 + i2]});
    for (const std::string& path : {a2_entries.path(), a2_rows.path()}) {
      const FactorJobResult job = stream_a2(config, path);
      if (!world.local_is_root()) continue;
      EXPECT_TRUE(std::ranges::equal(job.y.table(), transposed.table()));
    }
  }
}

TEST_F(TensorJobTest, OneStreamedFactorDrawsByTheJointLaw) {
  SketchConfig config{.dimension = 12 * 9, .buckets = 256, .lanes = 1024, .levels = 2, .seed = 6, .row_length = 9};
  const FactorJobResult job = stream_a1(config, a1_entries.path());
  config.row_length = 12;
  const FactorJobResult mirror = stream_a2(config, a2_entries.path());
  if (!world.local_is_root()) return;
  SampleResult drawn = draw_with_replacement(job.y, {.samples = 1023});
  for (Draw& draw : drawn.draws) {
    draw.column = draw.index % 9;
    draw.index /= 9;
  }
  expect_law(drawn, 500, "A1 streams");
  drawn = draw_with_replacement(mirror.y, {.samples = 1023});
  for (Draw& draw : drawn.draws) {
    draw.column = draw.index / 12;
    draw.index %= 12;
  }
  expect_law(drawn, 500, "A2 streams");
}

TEST_F(TensorJobTest, NormsAgreeAndEntriesAreVerified) {
  const std::vector<double> y = operands.y();
  const SketchConfig config{.dimension = 12 * 9, .buckets = 512, .lanes = 8, .seed = 7, .row_length = 9};
  const FactorJobResult job = stream_a1(config, a1_rows.path());
  if (world.local_is_root()) {
    ASSERT_TRUE(job.tensor_f2);
    const Estimate lane_0 = job.y.f2();
    EXPECT_LE(std::abs(job.tensor_f2->value - operands.squared_norm()), job.tensor_f2->bound);
    EXPECT_LE(std::abs(lane_0.value - job.tensor_f2->value), lane_0.bound + job.tensor_f2->bound);
  }
  std::vector<std::uint64_t> keys;
  if (world.local_is_root()) keys = {0, 107, 2 * 9 + 6, 5 * 9 + 3, 2 * 9 + 6};
  const ExactMatrixEntries exact = exact_entries(world, job.model, keys);
  if (!world.local_is_root()) return;
  EXPECT_DOUBLE_EQ(exact.norm, std::sqrt(operands.squared_norm()));
  ASSERT_EQ(exact.values.size(), keys.size());
  for (std::size_t t = 0; t < keys.size(); ++t) EXPECT_EQ(exact.values[t], y[keys[t]]);
}

TEST_F(TensorJobTest, AStreamOfOneFactorGoesOn) {
  const SketchConfig config{.dimension = 12 * 9, .buckets = 64, .lanes = 8, .seed = 8, .row_length = 9};
  const std::string all = rows("A1", operands.a1, 3);
  const std::size_t cut = all.find("A1,6,");
  const SharedFile first(world, "first.csv", all.substr(0, cut)), second(world, "second.csv", all.substr(cut));
  const FactorJobResult whole = stream_a1(config, a1_rows.path());
  FactorJobResult begun = stream_a1(config, first.path());
  std::optional<VectorSketch> start;
  if (world.local_is_root()) start = std::move(begun.y);
  const FactorJobResult finished =
      run_streamed_factor_job(world, operands.shape, Operand::A1, core(), config, 1024,
                              {.stream = {{second.path()}}, .fixed_factor = a2_rows.path()}, std::move(start));
  EXPECT_FALSE(finished.tensor_f2);
  if (world.local_is_root()) {
    EXPECT_TRUE(std::ranges::equal(finished.y.table(), whole.y.table()));
  }
}

TEST_F(TensorJobTest, AllStreamAndAreDrawnByTheJointLaw) {
  const SketchConfig config{.dimension = 12, .buckets = 256, .lanes = 1024, .levels = 2, .seed = 9};
  struct Setting {
    GramConfig gram;
    JobSource source;
  };
  // A Gram matrix from 2^15 buckets moves the law by about sqrt(2 / (5 2^15)) = 0.0035, far below what 500 draws show.
  const std::vector<Setting> settings{
      {{.buckets = 1U << 15U, .exact = false}, {{{a1_entries.path(), x_entries.path(), a2_entries.path()}}}},
      {{.buckets = 64, .exact = true}, {{{a2_rows.path(), a1_rows.path(), x_entries.path()}}}},
      {{.buckets = 64, .exact = true},
       {{{a1_rows.path()}}, {{Operand::A2, a2_rows.path()}, {Operand::X, x_entries.path()}}}}};
  for (const Setting& setting : settings) {
    Model model = KroneckerModel(operands.shape, setting.gram);
    const JobResult job = run_job(world, model, {config, Exact::on_root}, setting.source);
    if (!world.local_is_root()) continue;
    const auto& sketch = std::get<KroneckerSketch>(*job.y.sketch);
    EXPECT_TRUE(std::ranges::equal(sketch.core().values, operands.x));
    expect_law(draw_pairs(sketch, {.samples = 1023}), 400, setting.gram.exact ? "exact Gram" : "sketched Gram");
    const auto& exact = std::get<DenseTensor>(*job.y.operands);
    EXPECT_NEAR(TensorSampler(exact).norm(), std::sqrt(operands.squared_norm()), 1e-9);
    expect_law(draw_pairs(exact, {.samples = 1000, .p = 2, .seed = 10}), 1000, "exact method");
  }
}

TEST_F(TensorJobTest, RowsAreDrawnByTheirNorms) {
  const SketchConfig config{.dimension = 12, .buckets = 256, .lanes = 1024, .seed = 12};
  const SharedFile stream(world, "a.csv", entries("A", operands.a1, 3));
  Model model = RowsModel(12, 3, {.buckets = 1U << 15U, .exact = false});
  const JobResult job = run_job(world, model, {config, Exact::on_root}, {{{stream.path()}}});
  if (!world.local_is_root()) return;
  std::vector<double> law(12);
  double total = 0;
  for (std::size_t t = 0; t < operands.a1.size(); ++t) {
    law[t / 3] += operands.a1[t] * operands.a1[t];
    total += operands.a1[t] * operands.a1[t];
  }
  for (double& share : law) share /= total;
  const auto& sketch = std::get<RowsSketch>(*job.y.sketch);
  const Metric norm = Metric::norm(3);
  EXPECT_TRUE(std::ranges::equal(std::get<DenseOperand>(*job.y.operands).matrix().values, operands.a1));
  const SampleResult drawn = draw_rows(sketch.draws, norm, norm.total(sketch.gram()), {.samples = 1023});
  std::vector<std::uint64_t> counts(12);
  for (const Draw& draw : drawn.draws) ++counts[draw.index];
  EXPECT_GT(drawn.draws.size(), 500u);
  EXPECT_GT(statistics::chi_squared_fit(counts, law).p_value, significance);
}

TEST_F(TensorJobTest, ErrorsReachAllRanks) {
  const SketchConfig config{.dimension = 12 * 9, .buckets = 64, .lanes = 8, .seed = 5, .row_length = 9};
  const auto message = [&](const std::string& path) {
    return message_of<InputError>([&] { std::ignore = stream_a1(config, path); });
  };
  EXPECT_NE(message(a2_entries.path()).find(a2_entries.path() + ":1: "), std::string::npos);
  const SharedFile outside(world, "outside.csv", "A1,0,0,1\nA1,12,0,1\n");
  EXPECT_NE(message(outside.path()).find(outside.path() + ":2: "), std::string::npos);
  const SharedFile huge(world, "huge.csv", "A1,0,0,1e308\nA1,0,1,1e308\nA1,0,2,1e308\n");
  EXPECT_NE(message(huge.path()), "");
  Model model = KroneckerModel(operands.shape);
  EXPECT_NE(message_of<UsageError>([&] {
              std::ignore = run_job(world, model, {SketchConfig{.dimension = 12, .lanes = 8}},
                                    {{{a1_rows.path()}}, {{Operand::A, a2_rows.path()}}});
            }),
            "");
}

}  // namespace
}  // namespace weir::engine

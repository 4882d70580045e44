// Products through the whole job, at 1 to 4 ranks: the laws of the draws in the three settings, and what is exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/engine/job.hpp"
#include "weir/error.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/sampler.hpp"

namespace weir::engine {
namespace {

/// There are fewer than 100 decisions in this file, at any number of ranks.
constexpr double significance = 1e-5;

/// Integer operands: A of rows x columns with zero rows, equal rows, a few heavy ones; x with a zero.
struct Operands {
  std::uint64_t rows = 60;
  std::uint64_t columns = 5;
  std::vector<double> a = std::vector<double>(rows * columns);
  std::vector<double> x{2, -1, 0, 3, 1};

  Operands() {
    std::mt19937_64 random(3);
    for (double& entry : a) entry = static_cast<double>(random() % 9) - 4;
    for (std::size_t j = 0; j < columns; ++j) {
      a[5 * columns + j] = 0;                            // a zero row
      a[8 * columns + j] = a[7 * columns + j];           // two equal rows
      a[20 * columns + j] = 5 + static_cast<double>(j);  // a heavy one
    }
  }
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> y(rows);
    for (std::size_t t = 0; t < a.size(); ++t) y[t / columns] += a[t] * x[t % columns];
    return y;
  }
  [[nodiscard]] std::vector<double> law(double p) const {
    std::vector<double> law = y();
    double total = 0;
    for (double& entry : law) total += entry = std::pow(std::abs(entry), p);
    for (double& entry : law) entry /= total;
    return law;
  }
  /// Entries in parts that cancel, in random order.
  [[nodiscard]] std::string a_entries() const {
    std::vector<std::string> lines;
    for (std::size_t t = 0; t < a.size(); ++t) {
      const std::string place = "A," + std::to_string(t / columns) + "," + std::to_string(t % columns) + ",";
      lines.push_back(place + std::to_string(static_cast<int>(a[t]) - 6) + "\n");
      lines.push_back(place + "6\n");
    }
    std::shuffle(lines.begin(), lines.end(), std::mt19937_64(4));
    std::string text;
    for (const std::string& line : lines) text += line;
    return text;
  }
  /// Whole rows; one more comes and leaves.
  [[nodiscard]] std::string a_rows() const {
    std::string text = "A,9,*,7,7,7,7,7\n";
    for (std::uint64_t i = 0; i < rows; ++i) {
      text += "A," + std::to_string(i) + ",*";
      for (std::size_t j = 0; j < columns; ++j) text += "," + std::to_string(static_cast<int>(a[i * columns + j]));
      text += "\n";
    }
    return text + "A,9,-*,7,7,7,7,7\n";
  }
  [[nodiscard]] std::string x_entries() const {
    std::string text;
    for (std::size_t j = 0; j < columns; ++j)
      text += "x," + std::to_string(j) + ",10\nx," + std::to_string(j) + "," +
              std::to_string(static_cast<int>(x[j]) - 10) + "\n";
    return text;
  }
};

struct Setting {
  std::string name;
  Model model;
  JobSource source;
};

class ProductJobTest : public testing::Test {
 protected:
  mpi::Communicator world;
  Operands operands;
  SharedFile entries{world, "entries.csv", operands.a_entries()};
  SharedFile rows{world, "rows.csv", operands.a_rows()};
  SharedFile x{world, "x.csv", operands.x_entries()};

  [[nodiscard]] std::vector<Setting> settings(std::uint32_t degree = 1) const {
    const std::uint64_t n = operands.rows, d = operands.columns;
    std::vector<Setting> all{
        {"x fixed, rows", ProductModel(n, operands.x, degree), {{{rows.path()}}}},
        {"A fixed", StreamedProductModel(n, d, degree), {{{x.path()}}, {{Operand::A, rows.path()}}}},
        {"both stream, rows", StreamedProductModel(n, d, degree), {{{x.path(), rows.path()}}}},
    };
    if (degree == 1) {
      all.push_back({"x fixed, entries", ProductModel(n, operands.x), {{{entries.path()}}}});
      all.push_back({"A fixed, entries", StreamedProductModel(n, d), {{{x.path()}}, {{Operand::A, entries.path()}}}});
      all.push_back({"both stream, entries", StreamedProductModel(n, d), {{{entries.path(), x.path()}}}});
    }
    return all;
  }
  [[nodiscard]] SketchConfig config(std::uint32_t lanes, double p = 2) const {
    return {.dimension = operands.rows, .buckets = 256, .lanes = lanes, .p = p, .seed = 17};
  }
  [[nodiscard]] std::vector<std::uint64_t> counts(const SampleResult& result) const {
    std::vector<std::uint64_t> counts(operands.rows);
    for (const Draw& draw : result.draws) ++counts[draw.index];
    return counts;
  }
};

TEST_F(ProductJobTest, AllSettingsDrawByTheLaw) {
  for (const double p : {2.0, 1.0}) {
    std::optional<std::vector<double>> reference;
    for (Setting& setting : settings()) {
      const JobResult result = run_job(world, setting.model, {config(1024, p)}, setting.source);
      if (!world.local_is_root()) continue;
      const std::span<const double> table = result.y.y().table();
      if (!reference) reference.emplace(table.begin(), table.end());
      EXPECT_TRUE(std::ranges::equal(table, *reference)) << setting.name;
      const auto drawn = counts(draw_with_replacement(result.y.drawn_from(), {.samples = 1023}));
      EXPECT_GT(statistics::chi_squared_fit(drawn, operands.law(p)).p_value, significance)
          << setting.name << ", p " << p;
    }
  }
}

TEST_F(ProductJobTest, AllSettingsDrawByAlgorithmTwo) {
  for (Setting& setting : settings()) {
    std::vector<std::uint64_t> drawn(operands.rows);
    for (std::uint64_t seed = 0; seed < 2; ++seed) {
      SketchConfig wide = config(4096);
      wide.law = ScaleLaw::uniform;
      wide.seed = seed;
      const JobResult result = run_job(world, setting.model, {wide}, setting.source);
      if (!world.local_is_root()) continue;
      // T = ln(60) / 0.2 = 20: some 200 draws of 4095 lanes, whose law is exact up to 1 / 40.
      const auto more = counts(draw_by_precision_sampling(result.y.drawn_from(), {.samples = 4095, .epsilon = 0.2}));
      std::ranges::transform(drawn, more, drawn.begin(), std::plus());
    }
    if (!world.local_is_root()) continue;
    EXPECT_GT(statistics::chi_squared_fit(drawn, operands.law(2)).p_value, significance) << setting.name;
  }
}

TEST_F(ProductJobTest, LiftedRowsDrawByTheFourthPower) {
  for (Setting& setting : settings(2)) {
    const JobResult result = run_job(world, setting.model, {config(1024)}, setting.source);
    if (!world.local_is_root()) continue;
    EXPECT_EQ(result.y.degree(), 2u);
    const SampleResult drawn = draws_of_roots(draw_with_replacement(result.y.drawn_from(), {.samples = 1023}),
                                              result.y.drawn_from(), result.y.y());
    EXPECT_GT(statistics::chi_squared_fit(counts(drawn), operands.law(4)).p_value, significance) << setting.name;
    const std::vector<double> y = operands.y();
    // The norm is that of y, within five standard deviations of a median of rows.
    double squared = 0;
    for (const double entry : y) squared += entry * entry;
    EXPECT_NEAR(drawn.norm * drawn.norm / squared, 1, 5 * std::sqrt(2.0 / 256)) << setting.name;
    for (const Draw& draw : drawn.draws) {
      const double exact = y[draw.index];
      EXPECT_GT(draw.value * exact, 0) << setting.name << ", index " << draw.index;
    }
  }
}

TEST_F(ProductJobTest, ExactValuesAreThoseOfTheProduct) {
  const std::vector<double> y = operands.y();
  for (Setting& setting : settings()) {
    const JobResult whole = run_job(world, setting.model, {std::nullopt, Exact::on_root}, setting.source);
    if (world.local_is_root()) {
      EXPECT_TRUE(std::ranges::equal(whole.y.dense->table(), y)) << setting.name;
    }
    const JobResult sliced = run_job(world, setting.model, {std::nullopt, Exact::slices}, setting.source);
    const Slice& slice = sliced.y.slice;
    EXPECT_EQ(world.all_sum(slice.values.size()), operands.rows);
    EXPECT_TRUE(
        std::equal(slice.values.begin(), slice.values.end(), y.begin() + static_cast<std::ptrdiff_t>(slice.first)))
        << setting.name;
  }
}

TEST_F(ProductJobTest, ExactProductReadsAOnceMore) {
  const std::vector<double> y = operands.y();
  for (const double p : {4.0, 2.0, 1.0, 0.5}) {
    for (const std::string& path : {rows.path(), entries.path()}) {
      std::vector<std::uint64_t> asked;
      if (world.local_is_root()) asked = {20, 5, 59, 20};
      const ExactValues exact = exact_product(world, path, operands.rows, operands.x, p, asked);
      if (!world.local_is_root()) continue;
      double squared = 0;
      for (const double entry : y) squared += entry * entry;
      EXPECT_DOUBLE_EQ(exact.norm, std::sqrt(squared));
      ASSERT_EQ(exact.entries.size(), 3u);
      for (const auto& [index, entry] : exact.entries) {
        EXPECT_EQ(entry.value, y[index]);
        EXPECT_NEAR(entry.probability, operands.law(p)[index], 1e-14);
      }
    }
  }
}

TEST_F(ProductJobTest, AStateGoesOn) {
  Setting both = settings()[2];
  const JobResult whole = run_job(world, both.model, {config(8)}, both.source);
  std::optional<SketchState> start;
  JobResult first = run_job(world, both.model, {config(8)}, {{{x.path()}}});
  if (world.local_is_root()) start = std::move(first.y.sketch);
  const JobResult second = run_job(world, both.model, {config(8)}, {{{rows.path()}}}, std::move(start));
  if (!world.local_is_root()) return;
  EXPECT_EQ(whole.y.y().is_zero(), false);
  EXPECT_TRUE(std::ranges::equal(second.y.y().table(), whole.y.y().table()));
}

TEST_F(ProductJobTest, AHeldOperandDoesNotChange) {
  Model model = StreamedProductModel(operands.rows, operands.columns);
  const JobResult first = run_job(world, model, {config(8)}, {{{x.path()}}, {{Operand::A, rows.path()}}});
  const auto go_on = [&](const std::string& stream, OperandSet held) {
    std::optional<SketchState> start;
    if (world.local_is_root()) start = first.y.sketch;
    return run_job(world, model, {config(8)}, {.stream = {{stream}}, .held = held}, std::move(start));
  };
  const JobResult twice = go_on(x.path(), {Operand::A});
  if (world.local_is_root()) {
    VectorSketch expected = first.y.y();
    expected.scale(2);
    EXPECT_FALSE(expected.is_zero());
    EXPECT_TRUE(std::ranges::equal(twice.y.y().table(), expected.table()));
  }
  for (const std::string& stream : {rows.path(), entries.path()}) {
    const std::string message =
        testing_support::message_of<InputError>([&] { std::ignore = go_on(stream, {Operand::A}); });
    EXPECT_NE(message.find("A is not an operand of this model, which takes x"), std::string::npos) << message;
  }
  EXPECT_THROW(std::ignore = go_on(x.path(), {Operand::A, Operand::x}), UsageError);
}

TEST_F(ProductJobTest, AFixedMatrixBelongsToAStreamedVector) {
  Model model = VectorModel(10);
  EXPECT_THROW(std::ignore = run_job(world, model, {config(8)}, {{}, {{Operand::A, rows.path()}}}), UsageError);
}

TEST_F(ProductJobTest, AnOverflowOfXIsNamedWhicheverRanksItIsSpreadOver) {
  const SharedFile large(world, "large.csv", "x,1,1.5e308\nx,1,1.5e308\n");
  for (const Exact exact : {Exact::none, Exact::on_root, Exact::slices}) {
    Model model = StreamedProductModel(operands.rows, operands.columns);
    const std::string message = testing_support::message_of<InputError>([&] {
      std::ignore = run_job(world, model, {config(8), exact}, {{{large.path()}}, {{Operand::A, rows.path()}}});
    });
    EXPECT_NE(message.find("the sum of the changes of x[1] overflows"), std::string::npos) << message;
  }
}

TEST_F(ProductJobTest, LiftedRowsComeWhole) {
  for (Setting& setting : settings(2)) {
    setting.source = {{{entries.path()}}};
    EXPECT_THROW(std::ignore = run_job(world, setting.model, {config(8)}, setting.source), InputError) << setting.name;
  }
}

}  // namespace
}  // namespace weir::engine

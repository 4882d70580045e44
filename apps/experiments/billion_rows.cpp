// A of far more rows than fit in memory, each rank making its share of them: rate, memory, and the law of the draws of
// y = A x on planted rows. README.md beside it says how to run it and what came out.

#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <exception>
#include <iostream>
#include <numeric>
#include <span>
#include <vector>

#include "vectors.hpp"
#include "weir/error.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/mpi/environment.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace {

using namespace weir;
using experiments::now;

constexpr std::size_t d = 64;
constexpr std::size_t planted_per_query = 9;
constexpr double chi_squared_degrees = planted_per_query - 1;

// The queries x are the 64 rows of the Hadamard matrix. Each has planted rows of its own, multiples of itself, to which all
// others are orthogonal: the draws of different queries then are independent but for the rows that are not planted.

double hadamard(std::size_t query, std::size_t column) { return std::popcount(query & column) % 2 == 0 ? 1 : -1; }

/// In place, H row: entry q is the product of the row with query q.
void multiply_by_hadamard(std::span<double, d> row) {
  for (std::size_t half = 1; half < d; half *= 2) {
    for (std::size_t block = 0; block < d; block += 2 * half) {
      for (std::size_t j = block; j < block + half; ++j) {
        const double sum = row[j] + row[j + half];
        row[j + half] = row[j] - row[j + half];
        row[j] = sum;
      }
    }
  }
}

struct PlantedRow {
  std::uint64_t row = 0;
  std::size_t query = 0;
  double height = 0;  ///< A[row] is height * (row `query` of H) more than it would be.
};

/// Rows first .. first + count - 1 of A: entries are Binomial(4, 1/2) - 2, a function of the index, plus what is planted.
struct RowMaker {
  std::vector<PlantedRow> planted;  ///< By increasing row.

  void fill(std::uint64_t first, std::span<double> rows) const {
    constexpr std::array<double, 16> bits_less_two = [] {
      std::array<double, 16> table{};
      for (unsigned v = 0; v < 16; ++v) table[v] = std::popcount(v) - 2;
      return table;
    }();
    std::uint64_t word = first * (d / 16);
    for (std::size_t at = 0; at < rows.size(); at += 16, ++word) {
      const std::uint64_t bits = finalise(word * 0x9E3779B97F4A7C15U);
      for (std::size_t k = 0; k < 16; ++k) rows[at + k] = bits_less_two[(bits >> (4 * k)) & 15U];
    }
    const auto before = [](const PlantedRow& p, std::uint64_t row) { return p.row < row; };
    for (auto p = std::lower_bound(planted.begin(), planted.end(), first, before);
         p != planted.end() && p->row < first + rows.size() / d; ++p) {
      for (std::size_t j = 0; j < d; ++j) rows[(p->row - first) * d + j] += p->height * hadamard(p->query, j);
    }
  }
};

/// Rank r streams rows r * share .. r * share + streamed - 1; the rest of A stays zero.
struct Partition {
  std::uint64_t ranks = 1;
  std::uint64_t share = 0;
  std::uint64_t streamed = 0;
};

/// Together the planted rows of a query have about half of ||A x||^2, in the proportions 1 : 2 : ... : 9.
std::vector<PlantedRow> plant(const Partition& partition) {
  constexpr std::uint64_t total = d * planted_per_query;
  constexpr double weights = planted_per_query * (planted_per_query + 1) / 2.0;
  const std::uint64_t stride = partition.streamed * partition.ranks / total;
  std::vector<PlantedRow> planted;
  for (std::uint64_t k = 0; k < total; ++k) {
    const std::uint64_t streamed = k * stride + finalise(k) % stride;  // of all streamed rows, rank after rank
    const double weight = (static_cast<double>(k / d) + 1) / weights;
    planted.push_back({streamed / partition.streamed * partition.share + streamed % partition.streamed, k % d,
                       std::round(std::sqrt(static_cast<double>(partition.streamed * partition.ranks) * weight / d))});
  }
  return planted;
}

struct Ingest {
  std::vector<double> totals = std::vector<double>(d);  ///< ||A x||^2 for each query, exactly.
  double seconds = 0;                                   ///< All of it: making rows, the exact totals, sketching.
  double sketch_seconds = 0;
  double processor_seconds = 0;  ///< Less than `seconds` where ranks share cores with other work.
};

Ingest stream_rows(MatrixSketch& sketch, const RowMaker& maker, const Partition& partition, std::uint64_t rank) {
  constexpr std::uint64_t batch = 8192;
  Ingest ingest;
  std::vector<std::uint64_t> indices;
  const std::vector<double> weights(batch, 1.0);
  std::vector<double> rows(batch * d);
  const double start = now();
  const std::clock_t processor_start = std::clock();
  for (std::uint64_t done = 0; done < partition.streamed; done += indices.size()) {
    indices.resize(std::min(batch, partition.streamed - done));
    std::iota(indices.begin(), indices.end(), rank * partition.share + done);
    const std::span values = std::span(rows).first(indices.size() * d);
    maker.fill(indices.front(), values);
    const double made = now();
    sketch.update_rows(indices, std::span(weights).first(indices.size()), values);
    ingest.sketch_seconds += now() - made;
    for (std::size_t at = 0; at < values.size(); at += d) {
      const std::span<double, d> row = values.subspan(at).first<d>();
      multiply_by_hadamard(row);
      for (std::size_t q = 0; q < d; ++q) ingest.totals[q] += row[q] * row[q];
    }
  }
  ingest.seconds = now() - start;
  ingest.processor_seconds = static_cast<double>(std::clock() - processor_start) / CLOCKS_PER_SEC;
  return ingest;
}

/// The planted rows of a query, as a chi-squared test wants them.
struct Law {
  std::array<std::uint64_t, planted_per_query> rows{};
  std::array<double, planted_per_query> shares{};  ///< Of ||A x||^2.
};

std::vector<Law> make_laws(const RowMaker& maker, const std::vector<double>& totals) {
  std::vector<Law> laws(d);
  std::vector<std::size_t> count(d);
  for (const PlantedRow& planted : maker.planted) {
    std::array<double, d> row{};
    maker.fill(planted.row, row);
    multiply_by_hadamard(row);
    const std::size_t k = count[planted.query]++;
    laws[planted.query].rows[k] = planted.row;
    laws[planted.query].shares[k] = row[planted.query] * row[planted.query] / totals[planted.query];
  }
  return laws;
}

/// Counts of draws, of all queries and seeds together.
struct Tally {
  std::array<double, planted_per_query> drawn{};
  std::array<double, planted_per_query> expected{};  ///< Given how many draws of each query fell on planted rows.
  double draws = 0;
  double on_planted = 0;
  double expected_on_planted = 0;
  std::vector<double> lane_surplus;  ///< Draws on planted rows less their expectation, for each lane of each seed.
  std::vector<double> query_seconds;

  void query(const MatrixSketch& sketch, const std::vector<Law>& laws) {
    const std::uint32_t lanes = sketch.config().lanes;
    std::vector<double> surplus(lanes);
    for (std::size_t q = 0; q < d; ++q) {
      std::array<double, d> x{};
      for (std::size_t j = 0; j < d; ++j) x[j] = hadamard(q, j);
      const double start = now();
      const SampleResult result = draw_with_replacement(sketch.product(x), {.samples = lanes});
      query_seconds.push_back(now() - start);
      const Law& law = laws[q];
      const double planted_share = std::accumulate(law.shares.begin(), law.shares.end(), 0.0);
      double here = 0;
      for (const Draw& draw : result.draws) {
        const auto found = std::find(law.rows.begin(), law.rows.end(), draw.index);
        surplus[draw.lane] -= planted_share;
        if (found == law.rows.end()) continue;
        surplus[draw.lane] += 1;
        drawn[static_cast<std::size_t>(found - law.rows.begin())] += 1;
        here += 1;
      }
      for (std::size_t k = 0; k < planted_per_query; ++k) expected[k] += here * law.shares[k] / planted_share;
      draws += static_cast<double>(result.draws.size());
      on_planted += here;
      expected_on_planted += static_cast<double>(result.draws.size()) * planted_share;
    }
    lane_surplus.insert(lane_surplus.end(), surplus.begin() + 1, surplus.end());
  }
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void report(const Tally& tally) {
  double chi_squared = 0;
  for (std::size_t k = 0; k < planted_per_query; ++k) {
    chi_squared += std::pow(tally.drawn[k] - tally.expected[k], 2) / tally.expected[k];
  }
  static_assert(planted_per_query == 9, "the tail below is that of 8 degrees of freedom");
  const double half = chi_squared / 2;
  const double tail = std::exp(-half) * (1 + half + half * half / 2 + half * half * half / 6);
  double squares = 0;
  for (const double surplus : tally.lane_surplus) squares += surplus * surplus;
  std::cout << fmt::format(
      "queries: {} of {:.1f} ms (median), {} draws\n"
      "planted rows: {:.4f} of the draws, exact share {:.4f}, standard error {:.4f} (over lanes)\n"
      "among planted rows: {} draws, chi-squared {:.2f} with {} degrees of freedom, P = {:.3f}\n",
      tally.query_seconds.size(), 1000 * median(tally.query_seconds), tally.draws, tally.on_planted / tally.draws,
      tally.expected_on_planted / tally.draws, std::sqrt(squares) / tally.draws, tally.on_planted, chi_squared,
      chi_squared_degrees, tail);
}

void run(const mpi::Communicator& world, std::uint64_t rows, std::uint64_t streamed, std::uint32_t samples,
         std::uint64_t seeds) {
  const auto ranks = static_cast<std::uint64_t>(world.local_size());
  const std::uint64_t share = rows / ranks;
  const Partition partition{ranks, share, streamed == 0 ? share : std::min(streamed, share)};
  const RowMaker maker{plant(partition)};
  SketchConfig config = suggest_config({.dimension = rows, .samples = samples});
  Tally tally;
  double seconds = 0;
  double sketch_seconds = 0;
  double processor_seconds = 0;
  double merge_seconds = 0;
  for (config.seed = 1; config.seed <= seeds; ++config.seed) {
    MatrixSketch sketch(config, d);
    Ingest ingest = stream_rows(sketch, maker, partition, static_cast<std::uint64_t>(world.local_rank()));
    seconds += world.all_max(ingest.seconds);
    sketch_seconds += world.all_max(ingest.sketch_seconds);
    processor_seconds += world.all_max(ingest.processor_seconds);
    const double start = now();
    world.require_equal(sketch.fingerprint(), "sketch of A");
    world.reduce_sum(sketch.table());
    merge_seconds += now() - start;
    world.reduce_sum(ingest.totals);
    if (world.local_is_root()) tally.query(sketch, make_laws(maker, ingest.totals));
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double resident = world.all_max(static_cast<double>(usage.ru_maxrss) / 1024);
  if (!world.local_is_root()) return;

  const auto all_rows = static_cast<double>(partition.streamed * ranks * seeds);
  std::cout << fmt::format(
      "A: {} x {}, {:.4g} GB as doubles; {} rows streamed on {} rank(s), {} seed(s)\n"
      "sketch: B = {}, {} lanes, {} levels: {:.1f} MiB; resident, at most, of a rank {:.0f} MiB\n"
      "ingest: {:.1f} s, {:.4g} rows/s, {:.4g} entries/s; {:.4g} rows per processor second of a rank; {:.0f}% "
      "sketching\n"
      "merge: {:.0f} ms\n",
      rows, d, static_cast<double>(rows) * d * sizeof(double) / 1e9, partition.streamed * ranks, ranks, seeds,
      config.buckets, config.lanes, config.levels,
      static_cast<double>(MatrixSketch::table_size(config, d)) * sizeof(double) / 0x1p20, resident, seconds,
      all_rows / seconds, all_rows * d / seconds, all_rows / static_cast<double>(ranks) / processor_seconds,
      100 * sketch_seconds / seconds, 1000 * merge_seconds / static_cast<double>(seeds));
  report(tally);
}

}  // namespace

int main(int argc, char** argv) {
  const mpi::Environment environment(argc, argv);
  CLI::App app("Sketches a generated A of n x 64 on all ranks and tests the law of the draws of A x on planted rows");
  std::uint64_t rows = 1'000'000'000;
  app.add_option("--rows", rows, "n, the rows of A")
      ->check(CLI::Range(std::uint64_t{100'000}, std::uint64_t{1} << 40U))
      ->capture_default_str();
  std::uint64_t streamed = 0;
  app.add_option("--stream", streamed, "Rows that each rank streams, the others stay zero [default: all of its rows]")
      ->check(CLI::Range(std::uint64_t{100'000}, std::uint64_t{1} << 40U));
  std::uint32_t samples = 8;
  app.add_option("--samples", samples, "Draws that the sketch is sized for, with epsilon 0.1")->capture_default_str();
  std::uint64_t seeds = 1;
  app.add_option("--seeds", seeds, "Sketches, one after the other")->check(CLI::PositiveNumber)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(mpi::Communicator(), rows, streamed, samples, seeds);
  } catch (const UsageError& error) {  // of all ranks alike, before they depend on each other
    std::cerr << "weir_billion_rows: " << error.what() << '\n';
    return 2;
  }
}

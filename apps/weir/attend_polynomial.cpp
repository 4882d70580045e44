#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "attend.hpp"
#include "options.hpp"
#include "weir/attention/ams.hpp"
#include "weir/attention/polynomial.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir::app {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The sums of all ranks, on all ranks.
template <class Number>
void sum_everywhere(const mpi::Communicator& communicator, std::span<Number> numbers) {
  communicator.reduce_sum(numbers);
  const auto bytes = std::as_writable_bytes(numbers);
  std::vector<std::byte> sums(bytes.begin(), bytes.end());
  communicator.broadcast(sums);
  std::ranges::copy(sums, bytes.begin());
}

/// The sums of all ranks, on the root.
template <class... Spans>
void sum_on_root(const mpi::Communicator& communicator, Spans... spans) {
  (communicator.reduce_sum(spans), ...);
}

/// Numbers first, first + 1, ... of rows.
std::vector<std::uint64_t> numbers_from(std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

/// Collective. Bytes that a state may have: half of what the root's machine or control group has for a rank. Machines may
/// differ, so the root decides for all.
std::uint64_t most_bytes(const mpi::Communicator& communicator) {
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();
  for (const engine::MemoryLimit& limit : engine::memory_limits()) bytes = std::min(bytes, limit.bytes);
  return communicator.broadcast(bytes / 2 / static_cast<std::uint64_t>(communicator.local_size()));
}

/// Means of the first rows of queries (scaled) and of keys.
Centres centres_of(const AttendOptions& options, const Shapes& shapes) {
  const std::uint64_t count = parse_whole("--calibrate", options.calibrate, {1, std::uint64_t{1} << 20});
  const auto mean = [&](const std::string& path, double scale) {
    const NpyFile file(path);
    const DenseMatrix rows = file.rows(0, std::min(count, file.header().rows));
    std::vector<double> sums(static_cast<std::size_t>(shapes.d));
    for (std::size_t t = 0; t < rows.values.size(); ++t) sums[t % sums.size()] += rows.values[t];
    for (double& sum : sums) sum *= scale / static_cast<double>(rows.rows);
    return sums;
  };
  return {.q0 = mean(options.queries, scale_of(options.scale, shapes.d)), .k0 = mean(options.keys, 1)};
}

/// One run of a mode with polynomial features. Every member is collective.
class PolynomialAttention {
 public:
  PolynomialAttention(const mpi::Communicator& communicator, const AttendOptions& options)
      : communicator_(communicator),
        options_(options),
        shapes_(shapes_of_inputs(communicator, options, nullptr)),
        report_(report_of(communicator, options, shapes_)),
        scale_(scale_of(options.scale, shapes_.d)),
        most_bytes_(most_bytes(communicator)),
        rank_(static_cast<std::uint64_t>(communicator.local_rank())),
        ranks_(static_cast<std::uint64_t>(communicator.local_size())) {
    std::vector<double> centres;
    engine::together(communicator, [&](mpi::FailureSignal&) {
      config_ = {.dimension = shapes_.d, .degree = options.degree.value_or(2)};
      require_polynomial_fits(shapes_.d, config_.degree, shapes_.dv, most_bytes_);
      config_.validate();
      if (options.centre && communicator.local_is_root()) {
        const Centres found = centres_of(options, shapes_);
        centres = found.q0;
        centres.insert(centres.end(), found.k0.begin(), found.k0.end());
      }
    });
    communicator.broadcast(centres);
    if (!centres.empty()) {
      const auto middle = centres.begin() + static_cast<std::ptrdiff_t>(shapes_.d);
      config_.centres = {.q0 = {centres.begin(), middle}, .k0 = {middle, centres.end()}};
    }
    report_.degree = config_.degree;
    report_.features = config_.features();
    report_.clusters = 1;
    report_.calibration_bytes = sizeof(float) * centres.size();
    engine::together(communicator, [&](mpi::FailureSignal&) { files_.emplace(options, shapes_); });
  }

  int run() {
    // Sums are broadcast as a copy; M and a state of it follow.
    const std::uint64_t m2 = is_sketched() ? options_.m2.value_or(psi_rows(options_.eps2, shapes_.tokens)) : 0;
    const std::uint64_t r = report_.features, m1 = options_.mode == "paper" ? phi_size().rows * phi_size().buckets : 0;
    report_.peak_bytes = bytes_of_process +
                         sizeof(float) * (4 * r * (shapes_.dv + 1) + 2 * m2 * (r + shapes_.dv) + 2 * m1 * r) +
                         2 * sizeof(double) * block_of_queries * (shapes_.d + shapes_.dv);
    if (options_.is_sparse() || options_.compare)
      report_.peak_bytes += sizeof(double) * 3 * shapes_.queries * shapes_.dv;
    if (options_.compare) report_.peak_bytes += sizeof(double) * shapes_.tokens * (shapes_.d + shapes_.dv);
    announce_memory(communicator_, report_);
    const std::vector<float> m = is_sketched() ? sketched_product() : paired_product();
    if (options_.is_sparse()) {
      answer_sparsely(m);
    } else {
      answer_densely(m);
    }
    if (options_.compare) {
      report_.comparison =
          compare(communicator_, options_, shapes_, outputs_ ? outputs_->all() : DenseMatrix(),
                  {.budget = report_.state_bytes, .sparsity = options_.is_sparse() ? options_.sparsity : 0});
    }
    if (communicator_.local_is_root()) finish(options_, {}, *outputs_, report_);
    return done;
  }

 private:
  /// Rows first .. end - 1 of the tokens are this rank's.
  [[nodiscard]] std::uint64_t first_token() const { return share(shapes_.tokens, rank_, ranks_); }
  [[nodiscard]] std::uint64_t end_token() const { return share(shapes_.tokens, rank_ + 1, ranks_); }

  /// V and K are sketched, as the paper does.
  [[nodiscard]] bool is_sketched() const { return options_.mode == "paper" || options_.m2.has_value(); }
  [[nodiscard]] PhiSize phi_size() const {
    if (!options_.m1) return weir::phi_size(options_.eps1, options_.sparsity, shapes_.queries);
    constexpr std::uint32_t rows = 5;
    return {.rows = rows, .buckets = std::bit_ceil(std::max<std::uint64_t>(2, (*options_.m1 + rows - 1) / rows))};
  }

  /// S = sum phi(k) [1, v], r x (dv + 1), which is whole on every rank.
  std::vector<float> paired_product() {
    const auto start = Clock::now();
    std::optional<PolynomialState> state;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      state.emplace(config_, shapes_.dv, most_bytes_);
      files_->for_rows(first_token(), end_token(),
                       [&](const LoadedRows& rows) { state->add(rows.keys, rows.values, 1, rows.first); });
    });
    report_.ingest_seconds = communicator_.all_max(seconds_since(start));
    report_.updates = shapes_.tokens;
    sum_everywhere(communicator_, state->sums());
    report_.state_bytes = state->sums().size_bytes() + report_.calibration_bytes;
    return {state->sums().begin(), state->sums().end()};
  }

  /// The same from sketches of V, then of K: skU2^T skV.
  std::vector<float> sketched_product() {
    const auto start = Clock::now();
    std::optional<SketchedKeysValues> sketch;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      const std::uint64_t m2 = options_.m2.value_or(psi_rows(options_.eps2, shapes_.tokens));
      report_.m2 = m2;
      sketch.emplace(config_, shapes_.dv, Psi(parse_psi_kind(options_.psi), m2, options_.seed.value_or(0)),
                     most_bytes_);
      files_->for_rows(first_token(), end_token(), [&](const LoadedRows& rows) {
        sketch->add_values(numbers_from(rows.first, rows.values.rows), rows.values);
      });
      files_->for_rows(first_token(), end_token(), [&](const LoadedRows& rows) {
        sketch->add_keys(numbers_from(rows.first, rows.keys.rows), rows.keys);
      });
    });
    report_.ingest_seconds = communicator_.all_max(seconds_since(start));
    report_.updates = 2 * shapes_.tokens;
    sum_everywhere(communicator_, sketch->sk_v());
    sum_everywhere(communicator_, sketch->sum_v());
    sum_everywhere(communicator_, sketch->sk_u2());
    sum_everywhere(communicator_, sketch->prod());
    sum_everywhere(communicator_, sketch->sk_ones());
    sum_everywhere(communicator_, sketch->count());
    report_.state_bytes = report_.calibration_bytes;
    for (const std::span<float> part :
         {sketch->sk_v(), sketch->sum_v(), sketch->sk_u2(), sketch->prod(), sketch->sk_ones()})
      report_.state_bytes += part.size_bytes();
    std::vector<float> m;
    engine::together(communicator_, [&](mpi::FailureSignal&) { m = sketch->product(options_.mean_correct); });
    return m;
  }

  DenseMatrix scaled(DenseMatrix queries) const {
    for (double& number : queries.values) number *= scale_;
    return queries;
  }

  void open_outputs() {
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (communicator_.local_is_root()) outputs_.emplace(options_, shapes_, options_.compare);
    });
  }

  void answer_densely(const std::vector<float>& m) {
    open_outputs();
    const auto start = Clock::now();
    std::optional<PolynomialState> state;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      state.emplace(config_, shapes_.dv, most_bytes_);
      std::ranges::copy(m, state->sums().begin());
    });
    for_queries(communicator_, options_.queries, shapes_, [&](DenseMatrix queries, std::uint64_t first) {
      std::vector<double> outputs;
      engine::together(communicator_, [&](mpi::FailureSignal&) {
        if (queries.rows > 0) outputs = state->answer(scaled(std::move(queries)), first).values;
      });
      communicator_.gather_in_order(outputs, [&](std::span<const double> numbers) { outputs_->add(numbers); });
    });
    report_.query_seconds = communicator_.all_max(seconds_since(start));
  }

  /// The sketch of the outputs, then what is largest in it.
  void answer_sparsely(const std::vector<float>& m) {
    const auto start = Clock::now();
    std::optional<Phi> phi;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      const PhiSize size = phi_size();
      phi.emplace(shapes_.queries, size.rows, size.buckets, options_.seed.value_or(0));
      report_.m1 = phi->m1();
      report_.sparsity = options_.sparsity;
    });
    const OutputSketch sketch = options_.mode == "paper" ? factored_sketch(*phi, m) : collapsed_sketch(*phi, m);
    report_.query_seconds = communicator_.all_max(seconds_since(start));
    const auto recovering = Clock::now();
    SparseOutputs sparse;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (communicator_.local_is_root())
        sparse = recover(
            sketch,
            {.k = options_.sparsity, .by_rows = options_.row_recovery, .mean_corrected = options_.mean_correct});
    });
    report_.recover_seconds = communicator_.all_max(seconds_since(recovering));
    open_outputs();
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (communicator_.local_is_root()) outputs_->set(sparse);
    });
  }

  OutputSketch collapsed_sketch(const Phi& phi, const std::vector<float>& m) {
    std::optional<OutputSketch> sketch;
    std::optional<PolynomialFeatures> features;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      sketch.emplace(phi, shapes_.dv, most_bytes_);
      features.emplace(config_);
    });
    for_queries(communicator_, options_.queries, shapes_, [&](DenseMatrix queries, std::uint64_t first) {
      engine::together(communicator_, [&](mpi::FailureSignal&) {
        const DenseMatrix block = scaled(std::move(queries));
        if (block.rows > 0) add_collapsed(*sketch, *features, m, block, numbers_from(first, block.rows));
      });
    });
    report_.state_bytes += sketch->z().size_bytes();
    sum_on_root(communicator_, sketch->z(), sketch->sk_ones(), sketch->sums());
    return std::move(*sketch);
  }

  OutputSketch factored_sketch(const Phi& phi, const std::vector<float>& m) {
    std::optional<QuerySketch> sketch;
    engine::together(communicator_, [&](mpi::FailureSignal&) { sketch.emplace(config_, phi, most_bytes_); });
    std::vector<float> prod;
    for (std::size_t t = 0; t < m.size(); t += static_cast<std::size_t>(shapes_.dv + 1)) prod.push_back(m[t]);
    for_queries(communicator_, options_.queries, shapes_, [&](DenseMatrix queries, std::uint64_t first) {
      engine::together(communicator_, [&](mpi::FailureSignal&) {
        const DenseMatrix block = scaled(std::move(queries));
        if (block.rows > 0) sketch->add(numbers_from(first, block.rows), block, prod);
      });
    });
    report_.state_bytes += sketch->sk_u1().size_bytes();
    sum_on_root(communicator_, sketch->sk_u1(), sketch->sum_u1(), sketch->sk_ones(), sketch->count());
    std::optional<OutputSketch> product;
    engine::together(communicator_, [&](mpi::FailureSignal&) { product = sketch->product(m, shapes_.dv); });
    return std::move(*product);
  }

  const mpi::Communicator& communicator_;
  const AttendOptions& options_;
  Shapes shapes_;
  AttendReport report_;
  double scale_;
  std::uint64_t most_bytes_;
  std::uint64_t rank_, ranks_;
  PolynomialConfig config_;
  std::optional<TokenFiles> files_;
  std::optional<Outputs> outputs_;  ///< On the root.
};

}  // namespace

int attend_by_polynomials(const mpi::Communicator& communicator, const AttendOptions& options) {
  return PolynomialAttention(communicator, options).run();
}

}  // namespace weir::app

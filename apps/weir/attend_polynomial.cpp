#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "attend.hpp"
#include "clock.hpp"
#include "options.hpp"
#include "run_options.hpp"
#include "weir/attention/ams.hpp"
#include "weir/attention/polynomial.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/setting/polynomial_attention.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/attention_outputs_state.hpp"
#include "weir/state/polynomial_attention_state.hpp"

namespace weir::app {
namespace {

/// Collective. Bytes that a state may have: half of what the root's machine or control group has for a rank. Machines may
/// differ, so the root decides for all.
std::uint64_t most_bytes(const mpi::Communicator& communicator) {
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();
  for (const engine::MemoryLimit& limit : engine::memory_limits()) bytes = std::min(bytes, limit.bytes);
  return communicator.broadcast(bytes / 2 / static_cast<std::uint64_t>(communicator.local_size()));
}

/// Means of the first rows of queries (scaled) and of keys, one after the other.
DenseMatrix centres_of(const AttendOptions& options, const Shapes& shapes) {
  const std::uint64_t count = parse_whole("--calibrate", options.calibrate, {1, std::uint64_t{1} << 20});
  DenseMatrix centres{0, 1, {}};
  const auto mean = [&](const std::string& path, double scale, Operand operand) {
    const DenseMatrix rows = first_rows(path, count, operand, options.on_error);
    if (rows.rows == 0 || rows.columns != shapes.d)
      throw InputError(
          fmt::format("{}: its first rows are {} x {}, expected rows of {} numbers, of which a mean is taken", path,
                      rows.rows, rows.columns, shapes.d));
    std::vector<double> sums(static_cast<std::size_t>(shapes.d));
    for (std::size_t t = 0; t < rows.values.size(); ++t) sums[t % sums.size()] += rows.values[t];
    for (const double sum : sums) centres.values.push_back(scale * sum / static_cast<double>(rows.rows));
  };
  if (options.keys.empty() || options.queries.empty())
    throw UsageError("--centre takes the means of the first queries and keys: give files of them, --q and --k");
  mean(options.queries, scale_of(options.scale, shapes.d), attention_queries());
  mean(options.keys, 1, attention_keys());
  centres.rows = centres.values.size();
  return centres;
}

/// The number of tokens that a state of attention speaks of.
std::uint64_t tokens_of(const Problem& problem) {
  const auto tokens = problem.parameters.find("tokens");
  return tokens == problem.parameters.end() ? problem.side("n")
                                            : parse_whole("tokens", tokens->second, {1, max_dimension});
}

/// One run of a mode with polynomial features. Every member is collective.
///
/// Keys and values are one session, of which M is what remains. Sparse outputs are a second one, with M fixed and queries
/// that stream: keys come before queries by construction.
class PolynomialAttention {
 public:
  PolynomialAttention(const mpi::Communicator& communicator, const AttendOptions& options, AttendStart start)
      : communicator_(communicator),
        options_(options),
        start_(std::move(start)),
        shapes_(shapes_of_inputs(communicator, options, continues() ? &start_.problem : nullptr)),
        report_(report_of(communicator, options, shapes_)),
        most_bytes_(most_bytes(communicator)) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (continues()) {
        attention_ = polynomial_attention_shape(start_.problem);
        attention_.tokens = tokens_of(start_.problem);
      } else {
        attention_ = {.tokens = shapes_.tokens,
                      .dv = shapes_.dv,
                      .features = {.dimension = shapes_.d, .degree = options.degree.value_or(2)},
                      .scale = scale_of(options.scale, shapes_.d)};
      }
      const PolynomialConfig& features = attention_.features;
      require_polynomial_fits(features.dimension, features.degree, attention_.dv, most_bytes_);
      features.validate();
      if (!communicator.local_is_root()) return;
      if (options.centre) centres_ = centres_of(options, shapes_);
      if (start_.state) {
        const std::span<const double> held = start_.state->array("centres");
        centres_ = {held.size(), 1, {held.begin(), held.end()}};
      }
    });
    is_centred_ =
        communicator.broadcast(std::ranges::any_of(centres_.values, [](double number) { return number != 0; }));
    report_.n = attention_.tokens;
    report_.scale = attention_.scale;
    report_.degree = attention_.features.degree;
    report_.features = attention_.features.features();
    report_.clusters = 1;
    report_.calibration_bytes = is_centred_ ? sizeof(float) * 2 * shapes_.d : 0;
    report_.state_bytes = report_.calibration_bytes;
    report_.seed = options.seed.value_or(0);
  }

  int run() {
    const Problem tokens = is_of_outputs() ? Problem() : problem_of_tokens();
    const Problem outputs = is_sparse_here() ? problem_of_outputs() : Problem();
    for (const Problem* problem : {&tokens, &outputs}) {
      if (problem->sides.empty()) continue;
      engine::together(communicator_, [&](mpi::FailureSignal&) { setting_of(*problem).check(*problem); });
      // Sums are broadcast as a copy, in doubles, and read from.
      report_.peak_bytes += 4 * sizeof(double) * doubles_of(setting_of(*problem).layout(*problem), {});
      report_.state_bytes += bytes_of(*problem);
    }
    report_.peak_bytes += bytes_of_process + 2 * sizeof(double) * block_of_queries * (shapes_.d + shapes_.dv);
    if ((options_.is_sparse() && !options_.output_path.empty() && !options_.output_path.ends_with(".mtx")) ||
        options_.compare)
      report_.peak_bytes += sizeof(double) * 3 * shapes_.queries * shapes_.dv;
    if (options_.compare) report_.peak_bytes += shapes_.token_bytes();
    if (options_.compare || !is_sparse_here()) report_.peak_bytes += shapes_.query_bytes();
    announce_memory(communicator_, report_);

    if (options_.has_epochs()) return run_in_epochs(tokens);
    std::optional<engine::Session> session;
    if (!is_of_outputs()) session.emplace(take_tokens(tokens));
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (communicator_.local_is_root()) outputs_.emplace(options_, shapes_, options_.compare);
    });
    if (is_sparse_here()) {
      answer_sparsely(outputs, session);
    } else if (!options_.queries.empty()) {
      answer_densely(*session);
    }
    if (options_.compare)
      report_.comparison =
          compare(communicator_, options_, shapes_, outputs_ ? outputs_->all() : DenseMatrix(),
                  {.budget = report_.state_bytes, .sparsity = options_.is_sparse() ? options_.sparsity : 0});
    if (communicator_.local_is_root()) finish(options_, *outputs_, report_);
    return done;
  }

 private:
  [[nodiscard]] bool continues() const { return !options_.state_path.empty(); }
  /// Queries have begun to come in the saved state.
  [[nodiscard]] bool is_of_outputs() const {
    return continues() && start_.problem.role(attention_queries()) == Role::streams;
  }
  /// There are queries, whose sketch has the largest outputs.
  [[nodiscard]] bool is_sparse_here() const {
    return options_.is_sparse() && (is_of_outputs() || !options_.queries.empty());
  }
  /// V and K are sketched, as the paper does.
  [[nodiscard]] bool is_sketched() const {
    return continues() ? start_.problem.role(attention_values()) == Role::streams
                       : options_.mode == "paper" || options_.m2.has_value();
  }

  [[nodiscard]] Problem problem_of_tokens() {
    if (continues()) return start_.problem;
    Problem problem;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (!is_sketched()) {
        problem = attention_monomials_problem(attention_);
        return;
      }
      const std::uint64_t m2 = options_.m2.value_or(psi_rows(options_.eps2, shapes_.tokens));
      report_.m2 = m2;
      problem = attention_sketched_problem(attention_, {parse_psi_kind(options_.psi), m2, options_.seed.value_or(0)});
    });
    return problem;
  }
  [[nodiscard]] Problem problem_of_outputs() {
    Problem problem = start_.problem;
    if (!is_of_outputs())
      engine::together(communicator_, [&](mpi::FailureSignal&) {
        constexpr std::uint32_t rows = 5;
        PhiSize size{.rows = rows};
        if (options_.m1) {
          size.buckets = std::bit_ceil(std::max<std::uint64_t>(2, (*options_.m1 + rows - 1) / rows));
        } else {
          size = phi_size(options_.eps1, options_.sparsity, shapes_.queries);
        }
        const std::uint64_t seed = continues() ? start_.problem.sketch.seed : options_.seed.value_or(0);
        problem = attention_outputs_problem(attention_, shapes_.queries, size, seed, options_.mode == "paper");
      });
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      // All of them are looked at, and in a dense file all are written.
      constexpr std::uint64_t most = std::uint64_t{1} << 32;
      if (shapes_.queries > most)
        throw UsageError(
            fmt::format("{} queries, or indices up to there: --mode {} takes at most 2^32, as it looks at every one",
                        shapes_.queries, options_.mode));
    });
    const bool is_dense = !options_.output_path.ends_with(".mtx") && !options_.output_path.empty();
    if (is_dense || options_.compare)
      engine::require_memory(communicator_, 0, engine::doubles_in_bytes(shapes_.queries, 2 * shapes_.dv),
                             "all outputs");
    report_.m1 = phi_rows(problem);
    report_.sparsity = options_.sparsity;
    return problem;
  }
  /// Of what streams, without the operands that are fixed.
  [[nodiscard]] static std::uint64_t bytes_of(const Problem& problem) {
    std::uint64_t bytes = 0;
    for (const ArrayLayout& layout : setting_of(problem).layout(problem))
      if (problem.role(layout.operand) == Role::streams)
        bytes += layout.size * (layout.is_single ? sizeof(float) : sizeof(double));
    return bytes;
  }

  engine::Session open_tokens(const Problem& problem) {
    engine::Sources sources;
    engine::together(communicator_,
                     [&](mpi::FailureSignal&) { sources.stream = stream_of_tokens(options_, shapes_, is_sketched()); });
    if (!continues() && is_centred_) sources.values[attention_centres()] = centres_;
    return {communicator_.local_handle(), problem, std::move(sources),
            engine::Session::Options{.start = std::exchange(start_.state, std::nullopt)}};
  }
  void note_tokens(engine::Session& session) {
    report_.updates = session.snapshot().updates;
    report_.skipped = session.statistics().skipped;
    report_.ingest_seconds = session.seconds().ingest;
    report_.merge_seconds = session.seconds().merge;
  }
  /// Reads all keys and values, and saves what they have come to where no queries follow that change it.
  engine::Session take_tokens(const Problem& problem) {
    engine::Session session = open_tokens(problem);
    session.advance();
    note_tokens(session);
    if (!options_.save_path.empty() && !is_sparse_here()) session.save(options_.save_path);
    return session;
  }
  /// Answers all queries at the end of every epoch of the tokens.
  int run_in_epochs(const Problem& problem) {
    engine::Session session = open_tokens(problem);
    read_tokens(options_, session, [&](const engine::Epoch* epoch) {
      note_tokens(session);
      report_.epoch = stamp_of(epoch);
      if (!options_.save_path.empty() && epoch->is_final) session.save(options_.save_path);
      engine::together(communicator_, [&](mpi::FailureSignal&) {
        if (communicator_.local_is_root()) outputs_.emplace(options_, shapes_, false);
      });
      answer_densely(session);
      if (communicator_.local_is_root()) finish(options_, *outputs_, report_);
    });
    return done;
  }

  void answer_densely(engine::Session& session) {
    const auto start = Clock::now();
    const Queries queries(communicator_, options_, shapes_);
    engine::together(communicator_, [&](mpi::FailureSignal&) { queries.require_all(); });
    queries.for_blocks(communicator_, [&](DenseMatrix block, std::uint64_t first) {
      const Answer answer =
          session.answer({.attend = AttendQuestion{.queries = std::move(block), .first_query = first}});
      communicator_.gather_in_order(answer.attention->outputs.values,
                                    [&](std::span<const double> numbers) { outputs_->add(numbers); });
    });
    report_.query_seconds = communicator_.all_max(seconds_since(start));
  }

  /// M, on the root.
  [[nodiscard]] DenseMatrix product_of(engine::Session& session) {
    std::vector<float> m;
    const State& state = session.snapshot();
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (!communicator_.local_is_root()) return;
      if (const auto* sketched = dynamic_cast<const SketchedAttentionState*>(&state.kept())) {
        m = sketched->product(options_.mean_correct);
      } else {
        m = dynamic_cast<const MonomialAttentionState&>(state.kept()).product();
      }
      require_keys(m);
    });
    return {m.size(), 1, {m.begin(), m.end()}};
  }

  /// The sketch of the outputs, then what is largest in it.
  void answer_sparsely(const Problem& problem, std::optional<engine::Session>& tokens) {
    const auto start = Clock::now();
    engine::Sources sources;
    sources.stream.on_error = options_.on_error;
    if (!options_.queries.empty()) sources.stream.paths = {options_.queries};
    if (tokens) {
      sources.values[attention_product()] = product_of(*tokens);
      tokens.reset();
      if (is_centred_) sources.values[attention_centres()] = centres_;
    }
    engine::Session session(communicator_.local_handle(), problem, std::move(sources),
                            {.start = std::exchange(start_.state, std::nullopt)});
    session.advance();
    report_.updates += session.snapshot().updates;
    report_.skipped += session.statistics().skipped;
    report_.query_seconds = communicator_.all_max(seconds_since(start));
    if (!options_.save_path.empty()) session.save(options_.save_path);
    const auto recovering = Clock::now();
    const Answer answer = session.answer(
        {.recover = RecoveryOptions{
             .k = options_.sparsity, .by_rows = options_.row_recovery, .mean_corrected = options_.mean_correct}});
    report_.recover_seconds = communicator_.all_max(seconds_since(recovering));
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      if (communicator_.local_is_root()) outputs_->set(*answer.recovered);
    });
  }

  const mpi::Communicator& communicator_;
  const AttendOptions& options_;
  AttendStart start_;
  Shapes shapes_;
  AttendReport report_;
  std::uint64_t most_bytes_;
  PolynomialAttentionShape attention_;
  DenseMatrix centres_;  ///< On the root.
  bool is_centred_ = false;
  std::optional<Outputs> outputs_;  ///< On the root.
};

}  // namespace

int attend_by_polynomials(const mpi::Communicator& communicator, const AttendOptions& options, AttendStart start) {
  return PolynomialAttention(communicator, options, std::move(start)).run();
}

}  // namespace weir::app

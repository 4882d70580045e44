#include "weir/attention/peers.hpp"

#include <fmt/format.h>
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <Eigen/QR>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numbers>
#include <queue>
#include <utility>

#include "attention/balance.hpp"
#include "attention/views.hpp"
#include "weir/attention/exact.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {
namespace {

constexpr std::uint64_t first_tokens = 4;  // that StreamingLLM keeps
constexpr std::uint64_t block = 256;
constexpr std::array<Peer, 5> peers{Peer::uniform, Peer::value_norm, Peer::window, Peer::random_features,
                                    Peer::balance};
constexpr std::array<std::string_view, 5> names{"uniform", "value_norm", "window", "random_features", "balance"};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Independent uniform numbers from (0, 1), by key.
class Uniforms {
 public:
  explicit Uniforms(std::uint64_t seed) : words_(Randomness::mix, seed, Purpose::draw, 0, 4) {}
  [[nodiscard]] double operator()(std::uint64_t key) const {
    return std::ldexp(static_cast<double>(words_(key) >> 11U) + 0.5, -53);
  }

 private:
  WordFunction words_;
};

/// Rows that are kept, with their weights, as they change.
class KeptRows {
 public:
  KeptRows(RowsView k, RowsView v) : k_(k), v_(v) {}

  [[nodiscard]] std::uint64_t size() const { return rows_.size(); }
  [[nodiscard]] const std::vector<std::uint64_t>& rows() const { return rows_; }

  void add(std::uint64_t row, double weight) {
    rows_.push_back(row);
    log_weights_.push_back(std::log(weight));
    append(keys_, k_.row(row));
    append(values_, v_.row(row));
  }
  void replace(std::size_t place, std::uint64_t row, double weight) {
    rows_[place] = row;
    log_weights_[place] = std::log(weight);
    std::ranges::copy(k_.row(row), keys_.begin() + static_cast<std::ptrdiff_t>(place * k_.columns));
    std::ranges::copy(v_.row(row), values_.begin() + static_cast<std::ptrdiff_t>(place * v_.columns));
  }
  void set_weight(std::size_t place, double weight) { log_weights_[place] = std::log(weight); }
  void clear() {
    rows_.clear();
    log_weights_.clear();
    keys_.clear();
    values_.clear();
  }

  /// The output of one query: out has dv numbers.
  void answer(std::span<const double> query, double* out) const {
    const Eigen::Map<const Eigen::VectorXd> q(query.data(), to_index(k_.columns));
    const Eigen::Map<const Eigen::VectorXd> weights(log_weights_.data(), to_index(size()));
    Eigen::VectorXd scores = matrix_view(keys_, size(), k_.columns) * q + weights;
    scores = (scores.array() - scores.maxCoeff()).exp();
    Eigen::Map<Eigen::RowVectorXd>(out, to_index(v_.columns)).noalias() =
        scores.transpose() * matrix_view(values_, size(), v_.columns) / scores.sum();
  }
  /// The outputs of all queries. Log weights are a further coordinate of the keys that is 1 in the queries.
  [[nodiscard]] DenseMatrix answer_all(RowsView q) const {
    return exact_attention(with_column(q, [](std::uint64_t) { return 1.0; }),
                           with_column({keys_, size(), k_.columns}, [&](std::uint64_t t) { return log_weights_[t]; }),
                           {values_, size(), v_.columns});
  }
  [[nodiscard]] WeightedRows weighted() const {
    std::vector<std::size_t> order(rows_.size());
    for (std::size_t t = 0; t < order.size(); ++t) order[t] = t;
    std::ranges::sort(order, {}, [&](std::size_t t) { return rows_[t]; });
    WeightedRows out;
    for (const std::size_t t : order) {
      out.rows.push_back(rows_[t]);
      out.weights.push_back(std::exp(log_weights_[t]));
    }
    return out;
  }

 private:
  static void append(std::vector<double>& to, std::span<const double> row) {
    to.insert(to.end(), row.begin(), row.end());
  }
  template <class Column>
  static DenseMatrix with_column(RowsView rows, const Column& column) {
    DenseMatrix out{rows.rows, rows.columns + 1, {}};
    out.values.reserve(out.rows * out.columns);
    for (std::uint64_t t = 0; t < rows.rows; ++t) {
      append(out.values, rows.row(t));
      out.values.push_back(column(t));
    }
    return out;
  }

  RowsView k_, v_;
  std::vector<std::uint64_t> rows_;
  std::vector<double> log_weights_;
  std::vector<double> keys_, values_;
};

/// Takes the rows one after the other, from row 0 on.
using Keeper = std::function<void(std::uint64_t row, KeptRows& kept)>;

/// A reservoir (Vitter 1985, algorithm R): after t rows each of them is in it with probability count / t.
Keeper keep_uniform(std::uint64_t count, std::uint64_t seed) {
  return [count, uniforms = Uniforms(seed)](std::uint64_t row, KeptRows& kept) {
    if (kept.size() < count) return kept.add(row, 1);
    const double place = std::floor(uniforms(row) * static_cast<double>(row + 1));
    if (place < static_cast<double>(count)) kept.replace(static_cast<std::size_t>(place), row, 1);
  };
}

Keeper keep_window(std::uint64_t count) {
  return [count](std::uint64_t row, KeptRows& kept) {
    if (kept.size() < count) return kept.add(row, 1);
    kept.replace(first_tokens + (row - first_tokens) % (count - first_tokens), row, 1);
  };
}

/// Priority sampling: row j has priority norm_j / u_j; those with the largest priorities are kept. With the largest
/// priority that was not kept as threshold, max(1, threshold / norm_j) is the inverse of an inclusion probability: sums
/// are unbiased.
class ValueNormSample {
 public:
  ValueNormSample(RowsView v, std::uint64_t count, std::uint64_t seed) : count_(count), uniforms_(seed) {
    const Eigen::VectorXd norms = matrix_view(v).rowwise().norm();
    // Rows without a value are part of the denominators. A floor of 1% of the root mean square keeps their weights
    // finite.
    const double floor = 0.01 * norms.norm() / std::sqrt(static_cast<double>(v.rows));
    for (const double norm : norms) norms_.push_back(floor > 0 ? std::max(norm, floor) : 1.0);
  }
  void operator()(std::uint64_t row, KeptRows& kept) {
    const double priority = norms_[row] / uniforms_(row);
    if (kept.size() < count_) {
      priorities_.emplace(priority, kept.size());
      return kept.add(row, 1);
    }
    const auto [least, place] = priorities_.top();
    if (priority > least) {
      priorities_.pop();
      priorities_.emplace(priority, place);
      kept.replace(place, row, std::max(1.0, threshold_ / norms_[row]));
    }
    if (std::min(least, priority) <= threshold_) return;
    threshold_ = std::min(least, priority);
    for (std::size_t t = 0; t < kept.size(); ++t)
      kept.set_weight(t, std::max(1.0, threshold_ / norms_[kept.rows()[t]]));
  }

 private:
  using Entry = std::pair<double, std::size_t>;
  std::uint64_t count_;
  Uniforms uniforms_;
  std::vector<double> norms_;
  double threshold_ = 0;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> priorities_;
};

/// Merge and reduce: rows at level l have weight 2^l. When there is no room for a row, a level is halved into the next.
class BalancedRows {
 public:
  BalancedRows(RowsView k, RowsView v, std::uint64_t count, double temperature)
      : k_(k), v_(v), count_(count), kernel_(balance_kernel(k, v, temperature)), levels_(1) {}
  void operator()(std::uint64_t row, KeptRows& kept) {
    if (kept.size() == count_) reduce(kept);
    levels_[0].push_back(row);
    kept.add(row, 1);
  }

 private:
  /// The lowest level that has a 32nd of all rows. Halving few rows balances them badly; at a high level an error
  /// weighs more. Of the shares from a quarter to a 32nd this one has the least error on real heads, most of all where
  /// few rows are kept.
  [[nodiscard]] std::size_t level_to_halve() const {
    const std::size_t least = std::max<std::size_t>(2, count_ / least_share);
    const auto enough =
        std::ranges::find_if(levels_, [&](const std::vector<std::uint64_t>& level) { return level.size() >= least; });
    const auto chosen = enough != levels_.end()
                            ? enough
                            : std::ranges::max_element(levels_, {}, [](const auto& level) { return level.size(); });
    return static_cast<std::size_t>(chosen - levels_.begin());
  }
  void reduce(KeptRows& kept) {
    const std::size_t level = level_to_halve();
    std::vector<std::uint64_t> rows = std::move(levels_[level]);
    levels_[level].clear();
    if (rows.size() % 2 != 0) {
      levels_[level].push_back(rows.back());
      rows.pop_back();
    }
    if (level + 1 == levels_.size()) levels_.emplace_back();
    const std::vector<std::uint64_t> half = halve(k_, v_, rows, kernel_);
    levels_[level + 1].insert(levels_[level + 1].end(), half.begin(), half.end());
    kept.clear();
    for (std::size_t l = 0; l < levels_.size(); ++l)
      for (const std::uint64_t row : levels_[l]) kept.add(row, std::ldexp(1.0, static_cast<int>(l)));
  }

  static constexpr std::size_t least_share = 32;
  RowsView k_, v_;
  std::uint64_t count_;
  BalanceKernel kernel_;
  std::vector<std::vector<std::uint64_t>> levels_;
};

/// `temperature` of balance: the variance of queries in each direction that its kernel supposes.
Keeper keeper_of(Peer peer, RowsView k, RowsView v, std::uint64_t count, std::uint64_t seed, double temperature) {
  switch (peer) {
    case Peer::uniform:
      return keep_uniform(count, seed);
    case Peer::value_norm:
      return ValueNormSample(v, count, seed);
    case Peer::window:
      return keep_window(count);
    case Peer::balance:
      return BalancedRows(k, v, count, temperature);
    case Peer::random_features:
      break;
  }
  throw UsageError("choose_rows: random_features keeps no rows");
}

/// The smallest number of rows that a peer can work with, where it cannot keep all.
std::uint64_t least_rows(Peer peer) {
  if (peer == Peer::window) return first_tokens + 1;
  return peer == Peer::balance ? 16 : 1;
}

double paper_temperature(RowsView k) { return 1 / std::sqrt(static_cast<double>(k.columns)); }

PeerAnswer answer_by_rows(Peer peer, RowsView q, RowsView k, RowsView v, const PeerOptions& options) {
  const std::uint64_t numbers = k.columns + v.columns;
  // value_norm keeps its threshold besides the rows, and balance its centres.
  const std::uint64_t besides = peer == Peer::value_norm ? 1 : peer == Peer::balance ? numbers : 0;
  const std::uint64_t room = options.budget / sizeof(float);
  const bool fits = k.rows <= room / numbers;
  const std::uint64_t count = fits ? k.rows : room < besides ? 0 : (room - besides) / numbers;
  if (!fits && count < least_rows(peer))
    throw UsageError(fmt::format("answer_by_peer: {} bytes do not hold the {} rows that {} needs, {} bytes",
                                 options.budget, least_rows(peer), to_string(peer),
                                 (least_rows(peer) * numbers + besides) * sizeof(float)));
  Keeper take = keeper_of(peer, k, v, count, options.seed, paper_temperature(k));
  KeptRows kept(k, v);
  PeerAnswer answer{DenseMatrix{q.rows, v.columns, std::vector<double>(q.rows * v.columns)}};
  if (options.causal) {
    for (std::uint64_t t = 0; t < k.rows; ++t) {
      const auto start = Clock::now();
      take(t, kept);
      const auto taken = Clock::now();
      kept.answer(q.row(t), answer.outputs.values.data() + t * v.columns);
      answer.seconds_rows += std::chrono::duration<double>(taken - start).count();
      answer.seconds_queries += seconds_since(taken);
    }
  } else {
    const auto start = Clock::now();
    for (std::uint64_t t = 0; t < k.rows; ++t) take(t, kept);
    const auto taken = Clock::now();
    answer.seconds_rows = std::chrono::duration<double>(taken - start).count();
    answer.outputs = kept.answer_all(q);
    answer.seconds_queries = seconds_since(taken);
  }
  answer.kept = kept.size();
  answer.bytes = sizeof(float) * (kept.size() * numbers + (fits ? 0 : besides));
  return answer;
}

/// Features in rows of directions: `features` x d.
RowMajorMatrix orthogonal_directions(std::uint64_t features, std::uint64_t d, std::uint64_t seed) {
  const Uniforms uniforms(seed);
  std::uint64_t drawn = 0;
  const auto gaussians = [&] {
    // Box and Muller 1958.
    RowMajorMatrix block_of(to_index(d), to_index(d));
    for (Eigen::Index i = 0; i < block_of.size(); ++i) {
      const double radius = std::sqrt(-2 * std::log(uniforms(drawn)));
      block_of.data()[i] = radius * std::cos(2 * std::numbers::pi * uniforms(drawn + 1));
      drawn += 2;
    }
    return block_of;
  };
  RowMajorMatrix directions(to_index(features), to_index(d));
  for (std::uint64_t first = 0; first < features; first += d) {
    const std::uint64_t count = std::min(d, features - first);
    const Eigen::HouseholderQR<RowMajorMatrix> qr(gaussians());
    RowMajorMatrix orthogonal = qr.householderQ();
    // The law of Q is that of a uniform rotation only where the diagonal of R has random signs.
    for (Eigen::Index j = 0; j < orthogonal.cols(); ++j)
      if (qr.matrixQR()(j, j) < 0) orthogonal.col(j) *= -1;
    const Eigen::VectorXd lengths = gaussians().rowwise().norm();
    directions.middleRows(to_index(first), to_index(count)) =
        (lengths.asDiagonal() * orthogonal).topRows(to_index(count));
  }
  return directions;
}

/// log of the features: rows x features.
RowMajorMatrix feature_logs(const RowMajorMatrix& rows, const RowMajorMatrix& directions) {
  RowMajorMatrix logs = rows * directions.transpose();
  logs.colwise() -= 0.5 * rows.rowwise().squaredNorm();
  return logs;
}

/// Maps of queries and keys that keep all scores: of_queries of_keys^T = I.
struct Balancing {
  RowMajorMatrix of_queries;
  RowMajorMatrix of_keys;
};

/// The variance of a feature grows with exp(||q + k||^2). Maps after which queries and keys have equal covariances
/// (`whole`), or equal variances in each coordinate, make that small.
Balancing balancing(const RowMajorMatrix& q, const RowMajorMatrix& k, bool whole) {
  const auto d = q.cols();
  const auto covariance = [&](const RowMajorMatrix& rows) {
    RowMajorMatrix out = rows.transpose() * rows / static_cast<double>(rows.rows());
    // A little of the identity, so that directions in which nothing varies can be divided by.
    out.diagonal().array() += 1e-6 * out.trace() / static_cast<double>(d) + std::numeric_limits<double>::min();
    return out;
  };
  const RowMajorMatrix of_q = covariance(q);
  const RowMajorMatrix of_k = covariance(k);
  if (!whole) {
    const Eigen::VectorXd scale = (of_q.diagonal().array() / of_k.diagonal().array()).sqrt().sqrt();
    return {scale.cwiseInverse().asDiagonal(), scale.asDiagonal()};
  }
  const RowMajorMatrix root = of_q.llt().matrixL();
  const Eigen::SelfAdjointEigenSolver<RowMajorMatrix> solver(root.transpose() * of_k * root);
  const Eigen::VectorXd scale =
      solver.eigenvalues().cwiseMax(std::numeric_limits<double>::min()).cwiseSqrt().cwiseSqrt();
  const RowMajorMatrix of_keys = root * solver.eigenvectors() * scale.cwiseInverse().asDiagonal();
  return {RowMajorMatrix(of_keys.inverse().transpose()), of_keys};
}

PeerAnswer answer_by_random_features(RowsView q, RowsView k, RowsView v, const PeerOptions& options) {
  const std::uint64_t room = options.budget / sizeof(float);
  // The whole map is worth its d^2 numbers where they are no more than a quarter of all.
  const bool whole_map = k.columns <= room / 4 / k.columns;
  const std::uint64_t map_size = whole_map ? k.columns * k.columns : k.columns;
  const std::uint64_t besides = 2 * k.columns + 1 + map_size;  // two centres, and the exponent of the sums
  const std::uint64_t features = room < besides ? 0 : (room - besides) / (v.columns + 1);
  if (features < 1)
    throw UsageError(fmt::format("answer_by_peer: {} bytes do not hold one random feature, {} bytes", options.budget,
                                 (besides + v.columns + 1) * sizeof(float)));
  const Eigen::RowVectorXd q0 = matrix_view(q).colwise().mean();
  const Eigen::RowVectorXd k0 = matrix_view(k).colwise().mean();
  const Balancing map = balancing(matrix_view(q).rowwise() - q0, matrix_view(k).rowwise() - k0, whole_map);
  const RowMajorMatrix directions = orthogonal_directions(features, k.columns, options.seed);

  PeerAnswer answer{DenseMatrix{q.rows, v.columns, std::vector<double>(q.rows * v.columns)}};
  const auto dv = to_index(v.columns);
  // sums = sum_j exp(logs_j - exponent) [1, v_j], with the largest log so far as exponent.
  RowMajorMatrix sums = RowMajorMatrix::Zero(to_index(features), dv + 1);
  double exponent = -std::numeric_limits<double>::infinity();
  const auto logs_of_keys = [&](std::uint64_t first, std::uint64_t count) {
    const RowMajorMatrix keys = matrix_view(k.part(first, count)).rowwise() - k0;
    RowMajorMatrix logs = feature_logs(keys * map.of_keys, directions);
    logs.colwise() += keys * q0.transpose();
    return logs;
  };
  const auto raise_exponent = [&](double largest) {
    if (largest <= exponent) return;
    sums *= std::exp(exponent - largest);
    exponent = largest;
  };
  const auto logs_of_queries = [&](std::uint64_t first, std::uint64_t count) {
    RowMajorMatrix logs = feature_logs((matrix_view(q.part(first, count)).rowwise() - q0) * map.of_queries, directions);
    logs.colwise() -= logs.rowwise().maxCoeff().eval();  // cancels in the ratio
    return RowMajorMatrix(logs.array().exp());
  };
  const auto divide = [&](const auto& products, std::uint64_t first) {
    for (Eigen::Index t = 0; t < products.rows(); ++t)
      Eigen::Map<Eigen::RowVectorXd>(answer.outputs.values.data() + (first + static_cast<std::uint64_t>(t)) * v.columns,
                                     dv) = products.row(t).tail(dv) / products(t, 0);
  };
  const auto with_ones = [&](std::uint64_t first, std::uint64_t count) {
    RowMajorMatrix out(to_index(count), dv + 1);
    out.col(0).setOnes();
    out.rightCols(dv) = matrix_view(v.part(first, count));
    return out;
  };
  for (std::uint64_t first = 0; first < k.rows; first += block) {
    const std::uint64_t count = std::min(block, k.rows - first);
    const auto start = Clock::now();
    RowMajorMatrix logs = logs_of_keys(first, count);
    raise_exponent(logs.maxCoeff());
    logs = (logs.array() - exponent).exp();
    const RowMajorMatrix values = with_ones(first, count);
    if (!options.causal) {
      sums.noalias() += logs.transpose() * values;
      answer.seconds_rows += seconds_since(start);
      continue;
    }
    // Within the block the products of features are taken row by row, those with the rows before it by the sums.
    const auto taken = Clock::now();
    const RowMajorMatrix queries = logs_of_queries(first, count);
    RowMajorMatrix inside = queries * logs.transpose();
    inside = inside.triangularView<Eigen::Lower>();
    divide(RowMajorMatrix(queries * sums + inside * values), first);
    answer.seconds_queries += seconds_since(taken);
    const auto adding = Clock::now();
    sums.noalias() += logs.transpose() * values;
    answer.seconds_rows += std::chrono::duration<double>(taken - start).count() + seconds_since(adding);
  }
  if (!options.causal) {
    const auto start = Clock::now();
    for (std::uint64_t first = 0; first < q.rows; first += block) {
      const std::uint64_t count = std::min(block, q.rows - first);
      divide(RowMajorMatrix(logs_of_queries(first, count) * sums), first);
    }
    answer.seconds_queries = seconds_since(start);
  }
  answer.kept = features;
  answer.bytes = sizeof(float) * (besides + features * (v.columns + 1));
  return answer;
}

}  // namespace

std::span<const Peer> all_peers() noexcept { return peers; }

std::string_view to_string(Peer peer) noexcept { return names[static_cast<std::size_t>(peer)]; }

Peer parse_peer(std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end())
    throw UsageError(fmt::format("unknown peer '{}', expected one of {}", name, fmt::join(names, ", ")));
  return peers[static_cast<std::size_t>(found - names.begin())];
}

PeerAnswer answer_by_peer(Peer peer, RowsView q, RowsView k, RowsView v, const PeerOptions& options) {
  constexpr const char* self = "answer_by_peer";
  require_at_least({self, "q.columns", "of a query"}, q.columns, 1);
  require_at_least({self, "v.columns", "of a value"}, v.columns, 1);
  require_at_least({self, "k.rows", "of the keys"}, k.rows, 1);
  require_view(self, "q.columns", q, q.columns);
  require_view(self, "k.columns", k, q.columns);
  require_view(self, "v.columns", v, v.columns);
  require_equal({self, "v.rows", "k.rows"}, v.rows, k.rows);
  if (options.causal) require_equal({self, "q.rows", "k.rows, as attention is causal"}, q.rows, k.rows);
  require_finite_rows(q, "queries");
  require_finite_rows(k, "keys");
  require_finite_rows(v, "values");
  if (q.rows == 0) return {DenseMatrix{0, v.columns, {}}};
  if (peer == Peer::random_features) return answer_by_random_features(q, k, v, options);
  return answer_by_rows(peer, q, k, v, options);
}

WeightedRows choose_rows(Peer peer, RowsView k, RowsView v, std::uint64_t count, std::uint64_t seed) {
  constexpr const char* self = "choose_rows";
  require_view(self, "k.columns", k, k.columns);
  require_view(self, "v.columns", v, v.columns);
  require_equal({self, "v.rows", "k.rows"}, v.rows, k.rows);
  if (count < k.rows) require_at_least({self, "count", "the least rows of this peer"}, count, least_rows(peer));
  const Keeper take = keeper_of(peer, k, v, std::max<std::uint64_t>(count, 1), seed, paper_temperature(k));
  KeptRows kept(k, v);
  for (std::uint64_t t = 0; t < k.rows; ++t) take(t, kept);
  return kept.weighted();
}

DenseMatrix random_feature_logs(RowsView rows, std::uint64_t features, std::uint64_t seed) {
  constexpr const char* self = "random_feature_logs";
  require_view(self, "rows.columns", rows, rows.columns);
  require_at_least({self, "features", "the smallest number"}, features, 1);
  require_at_least({self, "rows.columns", "the smallest number"}, rows.columns, 1);
  return to_dense_matrix(feature_logs(matrix_view(rows), orthogonal_directions(features, rows.columns, seed)));
}

}  // namespace weir

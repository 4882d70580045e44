#include "weir/sketch/tensor_sketch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "random/argument_checks.hpp"
#include "sketch/fourier.hpp"
#include "sketch/kernels.hpp"
#include "sketch/tensor_kernels.hpp"
#include "weir/error.hpp"
#include "weir/sketch/aligned.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

namespace {

constexpr std::size_t most_factors = 8;
constexpr std::uint32_t most_blocks = 64;

std::uint64_t combine(std::uint64_t digest, std::uint64_t field) {
  return finalise((digest ^ field) + 0x9E3779B97F4A7C15U);
}

/// Bound of Var <Sy, Sz> / (||y||^2 ||z||^2) in a repetition; see TensorImage.
double relative_variance(const TensorSketchConfig& config) {
  const auto p = static_cast<double>(config.dimensions.size());
  const auto buckets = static_cast<double>(config.buckets);
  const double pure = 2 * (std::exp2(p) - 1);
  const double mixed = 2 * (std::pow(3.0, p) - std::exp2(p + 1) + 1);
  return (pure + mixed / buckets) / (config.sparsity * buckets);
}

double median_inner_product(const TensorImage& a, const TensorImage& b) {
  std::array<double, 15> sums{};
  const auto used = std::span(sums).first(a.config().rows);
  const std::size_t size = a.table().size() / used.size();
  for (std::size_t row = 0; row < used.size(); ++row) {
    for (std::size_t cell = row * size; cell < (row + 1) * size; ++cell) used[row] += a.table()[cell] * b.table()[cell];
  }
  return median_of(used);
}

/// d1 ... dp. Throws UsageError when that many doubles do not fit.
std::size_t core_size(std::span<const std::uint64_t> columns) {
  std::uint64_t size = 1;
  for (const std::uint64_t d : columns) {
    if (d == 0) throw UsageError("a factor of 0 columns: expected at least 1");
    if (d > std::numeric_limits<std::size_t>::max() / 32 / size) {
      throw UsageError("X is too large for this machine");
    }
    size *= d;
  }
  return static_cast<std::size_t>(size);
}

/// The spectrum of a block of S y from the spectra of the columns of the factors and X.
class Contraction {
 public:
  Contraction(const TensorSketch& sketch)
      : sketch_(sketch),
        size_(static_cast<std::size_t>(sketch.config.buckets)),
        stride_(RealTransform::spectrum_stride(size_)),
        values_(columns_at_once * size_),
        sum_(stride_),
        transform_(size_, values_.data(), sum_.data()) {
    core_stride_.assign(sketch.factors.size(), 1);
    for (std::size_t q = sketch.factors.size(); q-- > 1;) {
      core_stride_[q - 1] = core_stride_[q] * static_cast<std::size_t>(sketch.columns(q));
    }
    for (std::size_t q = 0; q < sketch.factors.size(); ++q) {
      spectra_.emplace_back(static_cast<std::size_t>(sketch.columns(q)) * stride_);
    }
    partial_sums_.resize(sketch.factors.size() * tile);
  }

  /// out[bucket] = the block k of repetition `row`, times the weight.
  void run(std::uint32_t row, std::uint32_t k, double weight, std::span<double> out) {
    for (std::size_t q = 0; q < spectra_.size(); ++q) transform_columns(q, row, k);
    for (std::size_t first = 0; first < stride_; first += tile) {
      const std::size_t count = std::min(tile, stride_ - first);
      contract(0, sketch_.core.data(), first, count, sum_.data() + first);
    }
    transform_.inverse(sum_.data(), values_.data());
    for (std::size_t bucket = 0; bucket < size_; ++bucket) out[bucket] = weight * values_[bucket];
  }

 private:
  /// A cache line of the table holds as many neighbouring columns.
  static constexpr std::size_t columns_at_once = 8;
  /// Doubles of a spectrum that are worked on at a time, so that those of the last factor stay in the cache.
  static constexpr std::size_t tile = 512;

  void transform_columns(std::size_t q, std::uint32_t row, std::uint32_t k) {
    const MatrixSketch& factor = sketch_.factors[q][k];
    const auto columns = static_cast<std::size_t>(factor.columns());
    const double* table = factor.table().data() + row * size_ * columns;
    for (std::size_t first = 0; first < columns; first += columns_at_once) {
      const std::size_t count = std::min(columns_at_once, columns - first);
      for (std::size_t bucket = 0; bucket < size_; ++bucket) {
        for (std::size_t j = 0; j < count; ++j) values_[j * size_ + bucket] = table[bucket * columns + first + j];
      }
      for (std::size_t j = 0; j < count; ++j) {
        transform_.forward(values_.data() + j * size_, spectra_[q].data() + (first + j) * stride_);
      }
    }
  }

  /// out = the sum over the columns of the factors from q on, times the entries of X that begin at `core`.
  void contract(std::size_t q, const double* core, std::size_t first, std::size_t count, double* out) {
    const auto columns = static_cast<std::size_t>(sketch_.columns(q));
    std::fill_n(out, count, 0.0);
    for (std::size_t j = 0; j < columns; ++j) {
      const double* spectrum = spectra_[q].data() + j * stride_ + first;
      if (q + 1 == spectra_.size()) {
        if (core[j] != 0) kernels::add_scaled(out, spectrum, core[j], count);
        continue;
      }
      double* inner = partial_sums_.data() + q * tile;
      contract(q + 1, core + j * core_stride_[q], first, count, inner);
      kernels::multiply_add_spectra(out, spectrum, inner, count);
    }
  }

  const TensorSketch& sketch_;
  std::size_t size_;
  std::size_t stride_;
  std::vector<std::size_t> core_stride_;        // [q]: entries of X that share the first indices, up to that of q
  std::vector<AlignedVector<double>> spectra_;  // [q][column][stride_]
  AlignedVector<double> partial_sums_;          // [q][tile]
  AlignedVector<double> values_;                // [column][bucket]
  AlignedVector<double> sum_;
  RealTransform transform_;
};

}  // namespace

void TensorSketchConfig::validate() const {
  const auto require = [](bool good, const std::string& message) {
    if (!good) throw UsageError(message);
  };
  require(!dimensions.empty() && dimensions.size() <= most_factors,
          fmt::format("a tensor of {} factors: expected 1 to {}", dimensions.size(), most_factors));
  require(buckets <= (std::uint64_t{1} << 30U),
          fmt::format("buckets is {}: expected a power of two, 2 to 2^30", buckets));
  require(sparsity >= 1 && sparsity <= most_blocks,
          fmt::format("sparsity is {}: expected 1 to {}", sparsity, most_blocks));
  for (std::size_t q = 0; q < dimensions.size(); ++q) factor(q, 0).validate();
}

SketchConfig TensorSketchConfig::factor(std::size_t q, std::uint32_t k) const {
  require_below({"TensorSketchConfig::factor", "q", "dimensions.size()"}, q, dimensions.size());
  const std::uint64_t factor_seed = subkey(seed, Purpose::operand, static_cast<std::uint32_t>(q), 0);
  SketchConfig config{.dimension = dimensions[q], .rows = rows, .buckets = buckets, .lanes = 1};
  config.randomness = randomness;
  config.independence = independence;
  config.seed = subkey(factor_seed, Purpose::operand, 0, k + 1);
  return config;
}

std::uint64_t TensorSketchConfig::fingerprint() const {
  std::uint64_t digest = combine(dimensions.size(), sparsity);
  for (std::size_t q = 0; q < dimensions.size(); ++q) digest = combine(digest, factor(q, 0).fingerprint());
  return digest;
}

std::string describe_difference(const TensorSketchConfig& a, const TensorSketchConfig& b) {
  const auto differ = [](std::string_view field, const auto& x, const auto& y) {
    return fmt::format("{}: {} against {}", field, x, y);
  };
  if (a.dimensions.size() != b.dimensions.size()) return differ("factors", a.dimensions.size(), b.dimensions.size());
  if (a.sparsity != b.sparsity) return differ("sparsity", a.sparsity, b.sparsity);
  if (a.seed != b.seed) return differ("seed", a.seed, b.seed);
  for (std::size_t q = 0; q < a.dimensions.size(); ++q) {
    const std::string difference = describe_difference(a.factor(q, 0), b.factor(q, 0));
    if (!difference.empty()) return fmt::format("factor {}: {}", q + 1, difference);
  }
  return {};
}

TensorImage::TensorImage(const TensorSketchConfig& config) : config_(config) {
  config.validate();
  table_.resize(std::size_t{config.rows} * config.sparsity * static_cast<std::size_t>(config.buckets));
}

void TensorImage::add(const TensorImage& other, double coefficient) {
  if (const std::string difference = describe_difference(config_, other.config_); !difference.empty()) {
    throw InputError("the images do not combine: " + difference);
  }
  for (std::size_t cell = 0; cell < table_.size(); ++cell) table_[cell] += coefficient * other.table_[cell];
}

Estimate TensorImage::f2() const {
  const double value = median_inner_product(*this, *this);
  return {value, median_deviations(config_.rows) * std::sqrt(relative_variance(config_)) * value};
}

Estimate TensorImage::point(std::span<const std::uint64_t> indices) const {
  const std::vector<std::uint64_t>& dimensions = config_.dimensions;
  if (indices.size() != dimensions.size()) {
    throw InputError(fmt::format("{} indices of a tensor of {} factors", indices.size(), dimensions.size()));
  }
  for (std::size_t q = 0; q < indices.size(); ++q) {
    if (indices[q] >= dimensions[q]) {
      throw InputError(
          fmt::format("index {} of factor {} is not below the dimension {}", indices[q], q + 1, dimensions[q]));
    }
  }
  std::array<double, 15> sums{};
  const auto used = std::span(sums).first(config_.rows);
  const double weight = 1 / std::sqrt(static_cast<double>(config_.sparsity));
  PhiColumns column(config_.factor(0, 0));  // all factors have one shape
  for (std::uint32_t k = 0; k < config_.sparsity; ++k) {
    std::array<std::uint64_t, 15> buckets{};
    std::array<double, 15> signs;
    signs.fill(weight);
    for (std::size_t q = 0; q < indices.size(); ++q) {
      SketchOperator(config_.factor(q, k), 1).locate(0, indices.subspan(q, 1), column);
      for (std::size_t row = 0; row < used.size(); ++row) {
        buckets[row] += column.cells[row * PhiColumns::capacity];
        signs[row] *= column.signs[row * PhiColumns::capacity];
      }
    }
    for (std::size_t row = 0; row < used.size(); ++row) {
      const std::uint64_t bucket = buckets[row] & (config_.buckets - 1);
      used[row] += signs[row] * table_[(row * config_.sparsity + k) * config_.buckets + bucket];
    }
  }
  const double f2 = median_inner_product(*this, *this);
  const double deviation = std::sqrt(f2 / (config_.sparsity * static_cast<double>(config_.buckets)));
  return {median_of(used), median_deviations(config_.rows) * deviation};
}

Estimate TensorImage::inner_product(const TensorImage& other) const {
  if (const std::string difference = describe_difference(config_, other.config_); !difference.empty()) {
    throw InputError("the images have no inner product: " + difference);
  }
  const double f2s = median_inner_product(*this, *this) * median_inner_product(other, other);
  return {median_inner_product(*this, other),
          median_deviations(config_.rows) * std::sqrt(relative_variance(config_) * f2s)};
}

TensorSketch::TensorSketch(const TensorSketchConfig& the_config, std::span<const std::uint64_t> columns)
    : config(the_config) {
  config.validate();
  if (columns.size() != config.dimensions.size()) {
    throw UsageError(fmt::format("columns of {} factors for a tensor of {}", columns.size(), config.dimensions.size()));
  }
  core.resize(core_size(columns));
  for (std::size_t q = 0; q < columns.size(); ++q) {
    std::vector<MatrixSketch>& blocks = factors.emplace_back();
    for (std::uint32_t k = 0; k < config.sparsity; ++k) blocks.emplace_back(config.factor(q, k), columns[q]);
  }
}

void TensorSketch::update(std::size_t q, std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                          std::span<const double> deltas) {
  require_below({"TensorSketch::update", "q", "the number of factors"}, q, factors.size());
  for (MatrixSketch& block : factors[q]) block.update(rows, columns, deltas);
}

void TensorSketch::update_rows(std::size_t q, std::span<const std::uint64_t> rows, std::span<const double> weights,
                               std::span<const double> values) {
  require_below({"TensorSketch::update_rows", "q", "the number of factors"}, q, factors.size());
  for (MatrixSketch& block : factors[q]) block.update_rows(rows, weights, values);
}

void TensorSketch::add(const TensorSketch& other, double coefficient) {
  if (const std::string difference = describe_difference(*this, other); !difference.empty()) {
    throw InputError("the sketches do not combine: " + difference);
  }
  for (std::size_t q = 0; q < factors.size(); ++q) {
    for (std::size_t k = 0; k < factors[q].size(); ++k) factors[q][k].add(other.factors[q][k], coefficient);
  }
  for (std::size_t j = 0; j < core.size(); ++j) core[j] += coefficient * other.core[j];
}

TensorImage TensorSketch::image() const {
  TensorImage image(config);
  Contraction contraction(*this);
  const auto buckets = static_cast<std::size_t>(config.buckets);
  const double weight = 1 / (static_cast<double>(buckets) * std::sqrt(static_cast<double>(config.sparsity)));
  for (std::uint32_t row = 0; row < config.rows; ++row) {
    for (std::uint32_t k = 0; k < config.sparsity; ++k) {
      const std::size_t block = std::size_t{row} * config.sparsity + k;
      contraction.run(row, k, weight, image.table().subspan(block * buckets, buckets));
    }
  }
  return image;
}

std::uint64_t TensorSketch::fingerprint() const {
  std::uint64_t digest = config.fingerprint();
  for (std::size_t q = 0; q < factors.size(); ++q) digest = combine(digest, columns(q));
  return digest;
}

std::string describe_difference(const TensorSketch& a, const TensorSketch& b) {
  if (std::string difference = describe_difference(a.config, b.config); !difference.empty()) return difference;
  for (std::size_t q = 0; q < a.factors.size(); ++q) {
    if (a.columns(q) != b.columns(q)) {
      return fmt::format("columns of factor {}: {} against {}", q + 1, a.columns(q), b.columns(q));
    }
  }
  return {};
}

}  // namespace weir

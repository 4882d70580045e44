#include "weir/sketch/tensor_features.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "random/argument_checks.hpp"
#include "sketch/fourier.hpp"
#include "sketch/matrix_kernels.hpp"
#include "sketch/tensor_kernels.hpp"
#include "weir/error.hpp"
#include "weir/sketch/aligned.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

namespace {

constexpr std::size_t lanes = kernels::product_lanes;

/// Whether products of coordinates are added one by one. A product of eight rows costs about as much as 4/3 of the
/// butterflies of the transforms of one (measured for 256 to 4096 buckets, 16 to 256 coordinates).
bool takes_products(std::size_t d, std::size_t degree, std::size_t buckets) {
  constexpr std::size_t most_buckets = std::size_t{1} << 16U;  // the cells of eight rows stay in the cache
  if (buckets > most_buckets) return false;
  const double products = std::pow(static_cast<double>(d), static_cast<double>(degree));
  const auto stages = static_cast<std::size_t>(std::bit_width(buckets)) - 1;
  return 4 * products <= 3 * static_cast<double>((degree + 1) * buckets * stages);
}

}  // namespace

class TensorFeatures::Implementation {
 public:
  explicit Implementation(const TensorSketchConfig& config)
      : config_(config),
        degree_(config.dimensions.size()),
        d_(static_cast<std::size_t>(config.dimensions.front())),
        buckets_(static_cast<std::size_t>(config.buckets)) {
    place_coordinates();
    if (takes_products(d_, degree_, buckets_)) {
      prepare_products();
    } else {
      values_.resize(buckets_);
      spectrum_.resize(RealTransform::spectrum_stride(buckets_));
      product_.resize(spectrum_.size());
      transform_.emplace(buckets_, values_.data(), product_.data());
    }
  }

  [[nodiscard]] const TensorSketchConfig& config() const noexcept { return config_; }
  [[nodiscard]] std::size_t size() const noexcept { return config_.sparsity * buckets_; }

  void apply(std::span<const double> rows, std::span<double> out) {
    const std::size_t count = rows.size() / d_;
    require_equal({"TensorFeatures::apply", "rows.size()", "a multiple of the dimension"}, rows.size(), count * d_);
    require_equal({"TensorFeatures::apply", "out.size()", "size() times the number of rows"}, out.size(),
                  count * size());
    if (!kernels::all_finite(rows)) {
      for (std::size_t t = 0; t < rows.size(); ++t) {
        if (!std::isfinite(rows[t])) {
          throw InputError(fmt::format("the value of row {}, column {} is {}", t / d_, t % d_, rows[t]));
        }
      }
    }
    for (std::size_t first = 0; first < count; first += transform_ ? 1 : lanes) {
      const std::size_t width = transform_ ? 1 : std::min(lanes, count - first);
      const auto some = rows.subspan(first * d_, width * d_);
      for (std::size_t k = 0; k < config_.sparsity; ++k) {
        double* block = out.data() + first * size() + k * buckets_;
        if (transform_) {
          convolve(some.data(), k, block);
        } else {
          multiply(some.data(), width, k, block);
        }
      }
    }
  }

 private:
  /// Buckets and signs of the coordinates; those of the first factor hold the weight of a block too.
  void place_coordinates() {
    buckets_of_.resize(degree_ * config_.sparsity * d_);
    signs_.resize(buckets_of_.size());
    std::vector<std::uint64_t> keys(PhiColumns::capacity);
    PhiColumns columns(config_.factor(0, 0));
    for (std::size_t q = 0; q < degree_; ++q) {
      const double weight = q == 0 ? 1 / std::sqrt(static_cast<double>(config_.sparsity)) : 1;
      for (std::uint32_t k = 0; k < config_.sparsity; ++k) {
        const SketchOperator phi(config_.factor(q, k), 1);
        const std::size_t at = offset(q, k);
        for (std::size_t first = 0; first < d_; first += PhiColumns::capacity) {
          const std::size_t count = std::min(PhiColumns::capacity, d_ - first);
          std::iota(keys.begin(), keys.end(), first);
          phi.locate(0, std::span(keys).first(count), columns);
          for (std::size_t t = 0; t < count; ++t) {
            buckets_of_[at + first + t] = static_cast<std::uint32_t>(columns.cells[t]);
            signs_[at + first + t] = weight * columns.signs[t];
          }
        }
      }
    }
  }

  /// For the products: the buckets of all first degree - 1 coordinates together, and scratch.
  void prepare_products() {
    for (std::size_t k = 0; k < config_.sparsity; ++k) {
      std::vector<std::uint32_t>& sums = first_buckets_.emplace_back(1);
      for (std::size_t q = 0; q + 1 < degree_; ++q) {
        std::vector<std::uint32_t> longer;
        for (const std::uint32_t sum : sums) {
          for (std::size_t j = 0; j < d_; ++j) longer.push_back(sum + buckets_of_[offset(q, k) + j]);
        }
        sums = std::move(longer);
      }
    }
    cells_.resize(buckets_ * lanes);
    values_.resize(d_ * lanes);
    products_.resize(first_buckets_.front().size() * lanes);
  }

  /// Where the coordinates of factor q in block k begin.
  [[nodiscard]] std::size_t offset(std::size_t q, std::size_t k) const { return (q * config_.sparsity + k) * d_; }

  /// One block of the features of one row.
  void convolve(const double* row, std::size_t k, double* out) {
    for (std::size_t q = 0; q < degree_; ++q) {
      std::fill(values_.begin(), values_.end(), 0.0);
      const std::uint32_t* buckets = buckets_of_.data() + offset(q, k);
      const double* signs = signs_.data() + offset(q, k);
      for (std::size_t j = 0; j < d_; ++j) values_[buckets[j]] += signs[j] * row[j];
      transform_->forward(values_.data(), (q == 0 ? product_ : spectrum_).data());
      if (q > 0) kernels::multiply_spectra(product_.data(), spectrum_.data(), product_.size());
    }
    transform_->inverse(product_.data(), values_.data());
    const double scale = 1 / static_cast<double>(buckets_);
    for (std::size_t bucket = 0; bucket < buckets_; ++bucket) out[bucket] = scale * values_[bucket];
  }

  /// One block of the features of up to eight rows.
  void multiply(const double* rows, std::size_t count, std::size_t k, double* out) {
    std::fill(cells_.begin(), cells_.end(), 0.0);
    std::fill_n(products_.begin(), lanes, 1.0);
    std::size_t products = 1;
    for (std::size_t q = 0; q < degree_; ++q) {
      const double* signs = signs_.data() + offset(q, k);
      for (std::size_t j = 0; j < d_; ++j) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          values_[j * lanes + lane] = lane < count ? signs[j] * rows[lane * d_ + j] : 0.0;
        }
      }
      if (q + 1 == degree_) break;
      for (std::size_t e = products; e-- > 0;) {  // in place: from the back
        for (std::size_t j = d_; j-- > 0;) {
          for (std::size_t lane = 0; lane < lanes; ++lane) {
            products_[(e * d_ + j) * lanes + lane] = products_[e * lanes + lane] * values_[j * lanes + lane];
          }
        }
      }
      products *= d_;
    }
    kernels::accumulate_products(cells_.data(), buckets_, first_buckets_[k], products_.data(),
                                 std::span(buckets_of_).subspan(offset(degree_ - 1, k), d_), values_.data());
    constexpr std::size_t line = 8;  // doubles of a cache line
    for (std::size_t first = 0; first < buckets_; first += line) {
      const std::size_t end = std::min(first + line, buckets_);
      for (std::size_t lane = 0; lane < count; ++lane) {
        double* features = out + lane * size();
        for (std::size_t bucket = first; bucket < end; ++bucket) features[bucket] = cells_[bucket * lanes + lane];
      }
    }
  }

  TensorSketchConfig config_;
  std::size_t degree_;
  std::size_t d_;
  std::size_t buckets_;
  std::vector<std::uint32_t> buckets_of_;  // [factor][block][coordinate]
  std::vector<double> signs_;
  AlignedVector<double> values_;  // the buckets of a factor, or [coordinate][lane]

  std::optional<RealTransform> transform_;  // where products are not added one by one
  AlignedVector<double> spectrum_;
  AlignedVector<double> product_;

  std::vector<std::vector<std::uint32_t>> first_buckets_;  // [block][(j1, ..)], the last index fastest
  AlignedVector<double> products_;                         // [(j1, ..)][lane]
  AlignedVector<double> cells_;                            // [bucket][lane]
};

TensorFeatures::TensorFeatures(const TensorSketchConfig& config) {
  config.validate();
  const std::uint64_t d = config.dimensions.front();
  if (config.rows != 1) throw UsageError(fmt::format("rows is {}: features have 1 repetition", config.rows));
  for (const std::uint64_t other : config.dimensions) {
    if (other != d) {
      throw UsageError(fmt::format("factors of dimensions {} and {}: features need equal ones", d, other));
    }
  }
  if (d > std::uint64_t{1} << 32U) throw UsageError(fmt::format("dimension is {}: features take at most 2^32", d));
  implementation_ = std::make_unique<Implementation>(config);
}

TensorFeatures::~TensorFeatures() = default;
TensorFeatures::TensorFeatures(TensorFeatures&&) noexcept = default;
TensorFeatures& TensorFeatures::operator=(TensorFeatures&&) noexcept = default;

const TensorSketchConfig& TensorFeatures::config() const noexcept { return implementation_->config(); }

std::size_t TensorFeatures::size() const noexcept { return implementation_->size(); }

void TensorFeatures::apply(std::span<const double> rows, std::span<double> out) { implementation_->apply(rows, out); }

}  // namespace weir

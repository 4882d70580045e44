#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace weir {

/// The numbers of one array of a state, which owns them: doubles, or floats where a layout says so (ArrayLayout::is_single).
/// Writing to them changes the state.
class Numbers {
 public:
  Numbers(std::span<double> numbers) noexcept  // NOLINT(google-explicit-constructor): either span is the array itself
      : double_(numbers.data()), size_(numbers.size()) {}
  Numbers(std::span<float> numbers) noexcept  // NOLINT(google-explicit-constructor)
      : single_(numbers.data()), size_(numbers.size()), is_single_(true) {}
  template <class Allocator>
  Numbers(std::vector<double, Allocator>& numbers) noexcept  // NOLINT(google-explicit-constructor)
      : Numbers(std::span<double>(numbers)) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] bool is_single() const noexcept { return is_single_; }
  /// As they lie in memory, and in files.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return is_single_ ? std::as_writable_bytes(std::span(single_, size_))
                      : std::as_writable_bytes(std::span(double_, size_));
  }
  /// work(span of doubles) or work(span of floats).
  template <class Work>
  decltype(auto) visit(Work&& work) const {
    return is_single_ ? std::forward<Work>(work)(std::span(single_, size_))
                      : std::forward<Work>(work)(std::span(double_, size_));
  }
  /// Throws std::logic_error for floats.
  [[nodiscard]] std::span<double> doubles() const {
    if (is_single_) throw std::logic_error("an array of floats was taken for one of doubles");
    return {double_, size_};
  }

 private:
  double* double_ = nullptr;
  float* single_ = nullptr;
  std::size_t size_ = 0;
  bool is_single_ = false;
};

}  // namespace weir

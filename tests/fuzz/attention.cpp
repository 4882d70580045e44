#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "weir/attention/anisotropic.hpp"
#include "weir/attention/calibration.hpp"
#include "weir/error.hpp"

namespace {

using namespace weir;

struct Rows {
  std::vector<double> keys;
  std::vector<double> values;
  std::vector<std::uint64_t> tokens;

  [[nodiscard]] AttentionRows view() const { return {keys, values, tokens}; }
};

Rows some_rows(std::size_t count, std::size_t d, std::size_t dv) {
  const auto numbers = [](std::size_t size, double step) {
    std::vector<double> out(size);
    for (std::size_t t = 0; t < size; ++t) out[t] = std::sin(step * static_cast<double>(t * t));
    return out;
  };
  Rows rows{numbers(count * d, 0.7), numbers(count * dv, 1.3), std::vector<std::uint64_t>(count)};
  std::iota(rows.tokens.begin(), rows.tokens.end(), 0U);
  return rows;
}

/// Calibrations of several shapes: with clusters, exact rows and values of a whole vector, and without.
const std::vector<AnisotropicCalibration>& calibrations() {
  static const std::vector<AnisotropicCalibration> made = [] {
    std::vector<AnisotropicCalibration> out;
    const auto fit = [&](std::uint64_t d, std::uint64_t dv, std::uint32_t clusters, std::uint64_t exact_rows) {
      const AnisotropicOptions options{.d = d,
                                       .dv = dv,
                                       .budget = 1600,
                                       .clusters = clusters,
                                       .exact_rows = exact_rows,
                                       .directions = 2,
                                       .degree = 3,
                                       .automatic = false};
      const Rows rows = some_rows(64, d, dv);
      out.push_back(AnisotropicCalibration::fit(options, rows.keys, rows.keys, rows.values));
    };
    fit(2, 2, 1, 4);
    fit(3, 2, 3, 2);
    fit(2, 8, 1, 0);
    return out;
  }();
  return made;
}

/// A calibration that was accepted is written as it was read, and serves rows and queries.
void use(const AnisotropicCalibration& calibration) {
  if (!(AnisotropicCalibration::from_numbers(calibration.numbers()) == calibration)) __builtin_trap();
  constexpr std::uint64_t most_numbers = std::uint64_t{1} << 11U;
  if (calibration.clusters() * calibration.features() * (calibration.dv() + 1) > most_numbers) return;
  const Rows rows = some_rows(24, calibration.d(), calibration.dv());
  AnisotropicState state(calibration);
  state.add(rows.view());
  AnisotropicState other(calibration);
  other.add(rows.view());
  state.merge(other.bounded_part(), -1);
  const AnisotropicAnswers answers = AnisotropicReader(state).answer(rows.keys, true);
  if (answers.outputs.values.size() != rows.values.size()) __builtin_trap();
}

void read_numbers(std::vector<double> numbers) {
  // More features, up to 2^20, only take longer: under sanitizers a minute.
  constexpr double most_features = 1 << 11U;
  if (numbers.size() > 5 && numbers[5] > most_features && numbers[5] <= 0x1p20) numbers[5] = most_features;
  std::optional<AnisotropicCalibration> calibration;
  try {
    calibration = AnisotropicCalibration::from_numbers(numbers);
  } catch (const InputError&) {
    return;
  }
  use(*calibration);
}

/// What is merged is merged as a whole or refused as a whole, and what comes of it is read again.
void merge(const AnisotropicCalibration& calibration, std::span<const std::byte> bytes, int sign) {
  AnisotropicState state(calibration);
  state.add(some_rows(24, calibration.d(), calibration.dv()).view());
  const std::vector<std::byte> before = state.bounded_part();
  const std::vector<float> features(state.features().begin(), state.features().end());
  try {
    state.merge(bytes, sign);
  } catch (const InputError&) {
    if (state.bounded_part() != before || !std::ranges::equal(state.features(), features)) __builtin_trap();
    return;
  }
  const std::vector<std::byte> after = state.bounded_part();
  AnisotropicState again(calibration);
  try {
    again.merge(after);
  } catch (const InputError&) {  // weights and counts may have become too large
    return;
  }
  if (again.exact_rows() != state.exact_rows() || again.rows() != state.rows()) __builtin_trap();
  const AnisotropicAnswers answers = AnisotropicReader(state).answer(std::vector<double>(calibration.d(), 0.1), true);
  if (answers.outputs.values.size() != calibration.dv()) __builtin_trap();
}

template <class T>
T take(std::span<const std::byte>& bytes) {
  T value{};
  const std::size_t size = std::min(sizeof value, bytes.size());
  if (size > 0) std::memcpy(&value, bytes.data(), size);
  bytes = bytes.subspan(size);
  return value;
}

}  // namespace

// The first byte says what the rest is: the numbers of a calibration, changes of the numbers of a valid one, or the
// bounded part of a state. The latter also with a beginning that is right, so that the fuzzer gets past it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto first = take<std::uint8_t>(bytes);
  const AnisotropicCalibration& valid = calibrations()[first / 4 % calibrations().size()];
  std::vector<double> numbers(valid.numbers().begin(), valid.numbers().end());
  switch (first % 4) {
    case 0:
      numbers.assign(bytes.size() / sizeof(double), 0);
      if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(double));
      read_numbers(std::move(numbers));
      break;
    case 1:
      while (!bytes.empty()) {
        const auto place = take<std::uint16_t>(bytes) % numbers.size();
        numbers[place] = take<double>(bytes);
      }
      read_numbers(std::move(numbers));
      break;
    default:
      const int sign = first % 4 == 2 ? 1 : -1;
      merge(valid, bytes, sign);
      std::vector<std::byte> right = AnisotropicState(valid).bounded_part();
      constexpr std::size_t beginning = 3 * sizeof(std::uint64_t);
      right.resize(beginning);
      right.insert(right.end(), bytes.begin(), bytes.end());
      merge(valid, right, sign);
  }
  return 0;
}

// What a token costs attention from a bounded state, next to its rank-1 update S += phi(k) [1, v]^T. An item is a token.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <numeric>
#include <vector>

#include "weir/attention/anisotropic.hpp"
#include "weir/random/source.hpp"
#include "workload.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// At least `count` multiply-adds of floats, as fast as the core does them: 12 sums that stay in registers.
float multiply_add_in_registers(std::size_t count) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 0.999F);
  const auto term = hn::Set(d, 0.001F);
  // They begin with different numbers: otherwise the compiler takes them for one.
  const auto from = [&](float number) HWY_ATTR { return hn::Set(d, number); };
  auto a = from(1), b = from(2), c = from(3), e = from(4), f = from(5), g = from(6);
  auto h = from(7), i = from(8), j = from(9), k = from(10), l = from(11), m = from(12);
  for (std::size_t t = 0; t < count; t += 12 * hn::Lanes(d)) {
    a = hn::MulAdd(a, factor, term);
    b = hn::MulAdd(b, factor, term);
    c = hn::MulAdd(c, factor, term);
    e = hn::MulAdd(e, factor, term);
    f = hn::MulAdd(f, factor, term);
    g = hn::MulAdd(g, factor, term);
    h = hn::MulAdd(h, factor, term);
    i = hn::MulAdd(i, factor, term);
    j = hn::MulAdd(j, factor, term);
    k = hn::MulAdd(k, factor, term);
    l = hn::MulAdd(l, factor, term);
    m = hn::MulAdd(m, factor, term);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(hn::Add(f, g), hn::Add(h, i)));
  return hn::GetLane(hn::Add(sum, hn::Add(hn::Add(j, k), hn::Add(l, m))));
}

}  // namespace weir::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::bench {

HWY_EXPORT(multiply_add_in_registers);

namespace {

/// Keys, queries and values of a head whose keys vary by less in each direction than in the one before it.
struct Head {
  static constexpr std::size_t rows = 1024;
  std::size_t d;
  std::vector<double> keys;
  std::vector<double> values;

  explicit Head(std::size_t columns) : d(columns), keys(rows * d), values(rows * d) {
    std::uint64_t counter = 0;
    const auto number = [&] {
      double sum = -6;
      for (int t = 0; t < 12; ++t) sum += static_cast<double>(finalise(++counter) >> 11U) * 0x1p-53;
      return sum;
    };
    for (std::size_t t = 0; t < keys.size(); ++t) {
      keys[t] = std::pow(0.8, static_cast<double>(t % d)) * number();
      values[t] = number();
    }
  }
};

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds_of(const auto& work) {
  const double start = cpu_seconds();
  work();
  return cpu_seconds() - start;
}

/// The time is that of add(), of this thread. The counter `ratio` is that time through the one that the multiply-adds of the rank-1
/// updates take at the peak of the core, which is measured in turn with it.
void add_tokens(benchmark::State& state, std::size_t d, std::uint64_t kibibytes) {
  constexpr std::size_t block = 256;
  const Head head(d);
  const AnisotropicOptions options{.d = d, .dv = d, .budget = kibibytes << 10U, .clusters = 1, .automatic = false};
  const auto calibration = AnisotropicCalibration::fit(options, head.keys, head.keys, head.values);
  AnisotropicState sums(calibration);
  std::vector<std::uint64_t> tokens(block);
  std::uint64_t token = 0;
  const auto add = [&] {
    std::iota(tokens.begin(), tokens.end(), token);
    const std::size_t first = token % Head::rows * d;
    sums.add(
        {std::span(head.keys).subspan(first, block * d), std::span(head.values).subspan(first, block * d), tokens});
    token += block;
  };
  while (token < 16 * Head::rows) add();  // the lists are full then
  const std::size_t multiply_adds = block * calibration.features() * (d + 1);
  double of_add = 0;
  double of_update = 0;
  for (auto _ : state) {
    const double seconds = seconds_of(add);
    state.SetIterationTime(seconds);
    of_add += seconds;
    of_update +=
        seconds_of([&] { benchmark::DoNotOptimize(HWY_DYNAMIC_DISPATCH(multiply_add_in_registers)(multiply_adds)); });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block));
  state.counters["features"] = static_cast<double>(calibration.features());
  state.counters["ratio"] = of_add / of_update;
}

}  // namespace

void register_attention() {
  for (const std::size_t d : {16U, 64U}) {
    for (const std::uint64_t kibibytes : {16U, 64U, 256U}) {
      benchmark::RegisterBenchmark(fmt::format("attention/add/d:{}/KiB:{}", d, kibibytes).c_str(),
                                   [=](benchmark::State& state) { add_tokens(state, d, kibibytes); })
          ->UseManualTime();
    }
  }
}

}  // namespace weir::bench
#endif

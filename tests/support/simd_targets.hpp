#pragma once

#include <hwy/targets.h>

#include <cstdint>
#include <functional>
#include <string>

namespace weir::testing {

/// Runs `body` once for each instruction set that this machine has and Highway compiles for by default, with the
/// library dispatching to it.
inline void for_each_simd_target(const std::function<void(const std::string& name)>& body) {
  constexpr std::int64_t compiled = HWY_SCALAR | HWY_SSSE3 | HWY_SSE4 | HWY_AVX2 | HWY_AVX3;
  hwy::SetSupportedTargetsForTest(0);
  const std::int64_t available = hwy::SupportedTargets() & compiled;
  for (std::int64_t rest = available; rest != 0; rest &= rest - 1) {
    const std::int64_t target = rest & -rest;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    body(hwy::TargetName(target));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace weir::testing

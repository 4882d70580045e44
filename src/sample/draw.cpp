#include "weir/sample/draw.hpp"

#include <algorithm>

namespace weir {

std::string_view to_string(FailReason reason) noexcept {
  switch (reason) {
    case FailReason::below_threshold:
      return "below_threshold";
    case FailReason::no_candidate:
      return "no_candidate";
    case FailReason::second_stage:
      return "second_stage";
    case FailReason::heavy_tail:
      return "heavy_tail";
  }
  return "";
}

void fail_draws_of_zeros(SampleResult& result) {
  for (const Draw& draw : result.draws)
    if (draw.value == 0) result.failed.push_back({draw.lane, FailReason::no_candidate});
  std::erase_if(result.draws, [](const Draw& draw) { return draw.value == 0; });
  std::ranges::stable_sort(result.failed, {}, &FailedLane::lane);
}

}  // namespace weir

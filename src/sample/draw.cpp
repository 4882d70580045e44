#include "weir/sample/draw.hpp"

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

}  // namespace weir

#include "weir/sample/draw.hpp"

namespace weir {

std::string_view to_string(FailReason reason) noexcept {
  return reason == FailReason::below_threshold ? "below_threshold" : "no_candidate";
}

}  // namespace weir

#pragma once

#include "weir/error.hpp"

namespace weir {

/// Thrown by what reads when its caller asked it to stop (ReadOptions::stop). The data is not at fault.
class Cancelled : public Error {
 public:
  Cancelled() : Error("reading was stopped") {}
};

}  // namespace weir

#pragma once

#include <gtest/gtest.h>

#include <string>

namespace weir::testing_support {

/// What the exception of type `Expected` that `work` throws says. Anything else that it does fails the test.
template <class Expected, class Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an exception";
  return {};
}

}  // namespace weir::testing_support

#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "weir/error.hpp"

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

/// Expects an `Expected` whose message is one line and contains every one of `parts`.
template <class Expected = InputError, class Work>
void expect_error(const Work& work, std::initializer_list<std::string_view> parts) {
  const std::string message = message_of<Expected>(work);
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string_view part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
}

}  // namespace weir::testing_support

// Public functions of random/ check the lengths of their spans in release builds too.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/random/scale.hpp"
#include "weir/random/source.hpp"

namespace weir {
namespace {

using testing_support::expect_error;

const std::vector<std::uint64_t> keys(9, 1);

TEST(ArgumentChecks, OfWords) {
  const WordFunction words(Randomness::mix, 1, Purpose::row, 0, 4);
  for (const std::size_t size : {std::size_t{8}, std::size_t{10}}) {
    std::vector<std::uint64_t> out(size);
    expect_error<UsageError>(
        [&] { words.fill(keys, out); },
        {"WordFunction::fill", "out.size() is " + std::to_string(size), "9, which is keys.size()"});
  }
}

TEST(ArgumentChecks, OfScales) {
  const ScaleFunction scales(Randomness::mix, 1, 4, ScaleLaw::exponential, 2, 8);
  std::vector<float> out(16 * 8);
  scales.fill(keys, 0, 8, out);
  out.pop_back();
  expect_error<UsageError>([&] { scales.fill(keys, 0, 8, out); },
                           {"ScaleFunction::fill", "out.size() is 127", "at least 128"});
  std::vector<std::uint64_t> bases(8);
  expect_error<UsageError>([&] { scales.fill_bases(keys, bases); }, {"size() is 8", "expected 9"});
}

}  // namespace
}  // namespace weir

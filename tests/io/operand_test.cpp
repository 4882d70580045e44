#include "weir/io/operand.hpp"

#include <gtest/gtest.h>

#include <string>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::TemporaryDirectory;

TEST(Operand, FormatIsKnownByContentNotByName) {
  const TemporaryDirectory directory;
  EXPECT_EQ(load_operand(directory.write("a.txt", "%%MatrixMarket matrix array real general\n1 2\n3\n4\n")),
            (DenseMatrix{1, 2, {3, 4}}));
  std::string npy = "\x93NUMPY\x01";
  npy += '\0';
  const std::string header = "{'descr': '|i1', 'fortran_order': False, 'shape': (2,)}\n";
  npy += static_cast<char>(header.size());
  npy += '\0';
  EXPECT_EQ(load_operand(directory.write("b.mtx", npy + header + "\x05\xff")), (DenseMatrix{2, 1, {5, -1}}));
}

TEST(Operand, PlainNumbers) {
  const TemporaryDirectory directory;
  EXPECT_EQ(load_operand(directory.write("w.txt", "# weights\n1\n\n -2.5 \r\n+3e2\n 0")),
            (DenseMatrix{4, 1, {1, -2.5, 300, 0}}));
}

TEST(Operand, ErrorsNameTheLine) {
  const TemporaryDirectory directory;
  const auto refuse = [&](const std::string& text, std::initializer_list<std::string_view> parts) {
    expect_error([&] { (void)load_operand(directory.write("w.txt", text)); }, parts);
  };
  refuse("1\ntwo\n", {"w.txt: line 2", "'two'"});
  refuse("1\n2 3\n", {"w.txt: line 2", "'2 3'"});
  refuse("1\ninf\n", {"w.txt: line 2", "'inf'"});
  refuse("# nothing\n\n", {"w.txt", "found none"});
  refuse("", {"w.txt", "found none"});
  expect_error([&] { (void)load_operand(directory / "none.txt"); }, {"none.txt", "No such file"});
}

}  // namespace
}  // namespace weir

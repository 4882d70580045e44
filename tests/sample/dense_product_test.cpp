#include "weir/sample/dense_product.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "weir/error.hpp"

namespace weir {
namespace {

using Indices = std::vector<std::uint64_t>;
using Values = std::vector<double>;

Values values_of(const DenseVector& y) { return {y.table().begin(), y.table().end()}; }

TEST(DenseProduct, MultipliesEntriesAndRows) {
  DenseProduct operands(3, 2);
  operands.a.update(Indices{0, 0, 2}, Indices{0, 1, 1}, Values{5, -1, 4});
  operands.a.update_rows(Indices{1, 2}, Values{1, -1}, Values{7, 8, 1, 2});
  operands.x = {10, 100};
  EXPECT_EQ(values_of(operands.times(operands.x)), (Values{-50, 870, 190}));
  EXPECT_EQ(values_of(operands.times(Values{0, 0})), (Values{0, 0, 0}));
}

TEST(DenseProduct, RefusesImpossibleShapes) {
  EXPECT_THROW(DenseProduct(0, 1), UsageError);
  EXPECT_THROW(DenseProduct(1, 0), UsageError);
  EXPECT_THROW(DenseProduct(std::uint64_t{1} << 40, std::uint64_t{1} << 30), UsageError);
}

}  // namespace
}  // namespace weir

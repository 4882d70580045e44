#include "weir/event.hpp"

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(OperandSet, HoldsWhatWasPutIn) {
  OperandSet set{Operand::X, Operand::A1};
  for (const Operand operand : all_operands)
    EXPECT_EQ(set.contains(operand), operand == Operand::X || operand == Operand::A1);
  EXPECT_EQ(set.size(), 2);
  set.insert(Operand::X);
  EXPECT_EQ(set.size(), 2);
  set.insert(Operand::y);
  EXPECT_EQ(set, (OperandSet{Operand::y, Operand::A1, Operand::X}));
  EXPECT_TRUE(OperandSet().empty());
  EXPECT_FALSE(set.empty());
}

TEST(OperandSet, IntersectsAndSubtracts) {
  const OperandSet a{Operand::A, Operand::x}, b{Operand::x, Operand::X};
  EXPECT_EQ(a & b, OperandSet{Operand::x});
  EXPECT_EQ(a - b, OperandSet{Operand::A});
  EXPECT_EQ(a - a, OperandSet());
}

TEST(OperandSet, IsNamedInTheOrderOfOperands) {
  EXPECT_EQ(to_string(OperandSet{Operand::X, Operand::x, Operand::A2}), "x, A2, X");
  EXPECT_EQ(to_string(OperandSet{Operand::A}), "A");
  EXPECT_EQ(to_string(OperandSet()), "");
}

// State files hold them.
TEST(OperandSet, BitsAreTheValuesOfOperands) {
  EXPECT_EQ((OperandSet{Operand::y, Operand::x}.bits), 3);
  EXPECT_EQ((OperandSet{Operand::A, Operand::A1}.bits), 12);
  EXPECT_EQ((OperandSet{Operand::A2, Operand::X}.bits), 48);
}

}  // namespace
}  // namespace weir

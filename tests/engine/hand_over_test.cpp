// Alice ingests, hands her state to Bob, and he goes on: the same as one party that saw both streams, for every kind of state.

#include "weir/engine/hand_over.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/setting/attention.hpp"
#include "weir/setting/polynomial_attention.hpp"
#include "weir/state/attention_outputs_state.hpp"
#include "weir/state/attention_state.hpp"

namespace weir::engine {
namespace {

using testing_support::events_of;
using testing_support::every_kind;
using testing_support::Kind;
using testing_support::message_of;
using testing_support::state_with_fixed;
using testing_support::stream_of;
using testing_support::takes_events;

constexpr int alice = 0, bob = 1;

/// Doubles are equal to the bit. Sums of floats are rounded, and what a party has lost by that is not in the message.
void expect_equal(const State& a, const State& b, const std::string& name) {
  EXPECT_EQ(a.kept().other_part(), b.kept().other_part()) << name;
  const std::vector<StateArray> arrays = a.arrays(), others = b.arrays();
  for (std::size_t k = 0; k < arrays.size(); ++k) {
    if (!arrays[k].layout->is_single) {
      EXPECT_TRUE(std::ranges::equal(arrays[k].numbers.doubles(), others[k].numbers.doubles())) << name;
      continue;
    }
    arrays[k].numbers.visit([&](auto numbers) {
      others[k].numbers.visit([&](auto other_numbers) {
        double difference = 0, sum = 0;
        for (std::size_t t = 0; t < numbers.size(); ++t) {
          const double from = static_cast<double>(numbers[t]), to = static_cast<double>(other_numbers[t]);
          difference += (from - to) * (from - to);
          sum += from * from;
        }
        EXPECT_LE(std::sqrt(difference), 1e-6 * std::sqrt(sum)) << name;
      });
    });
  }
}

/// Alice adds `first` to `start` and sends it, Bob adds `second` to what he gets; it must be `start` with both.
void expect_handed_over(const mpi::Communicator& world, const State& start, const EventBatch& first,
                        const EventBatch& second, const std::string& name) {
  if (world.local_rank() == alice) {
    State state = start;
    state.add(first);
    state.updates = first.events();
    EXPECT_GT(local_send_state(world, state, bob), 0U) << name;
  } else if (world.local_rank() == bob) {
    ReceivedState received = local_receive_state(world, alice);
    EXPECT_EQ(received.state.problem(), start.problem()) << name;
    EXPECT_EQ(received.state.updates, first.events()) << name;
    std::size_t numbers = 0;
    for (const StateArray& array : start.arrays()) numbers += array.numbers.bytes().size();
    EXPECT_GE(received.bytes, numbers) << name;
    received.state.add(second);
    State whole = start;
    whole.add(first);
    whole.add(second);
    expect_equal(received.state, whole, name);
  }
}

TEST(HandOver, BobGoesOnWhereAliceStopped) {
  const mpi::Communicator world;
  if (world.local_size() < 2) return;
  std::size_t kinds = 0;
  for (const Kind& kind : every_kind()) {
    if (!takes_events(kind.problem)) continue;
    expect_handed_over(world, state_with_fixed(kind.problem), stream_of(kind.problem, 1), stream_of(kind.problem, 2),
                       kind.name);
    ++kinds;
  }
  EXPECT_GT(kinds, 20U);
}

std::vector<double> normal(std::uint64_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> law;
  std::vector<double> numbers(count);
  std::ranges::generate(numbers, [&] { return law(random); });
  return numbers;
}

TEST(HandOver, AttentionGoesOnToo) {
  const mpi::Communicator world;
  if (world.local_size() < 2) return;
  constexpr std::uint64_t n = 40, d = 3, dv = 2;
  const auto calibration = AnisotropicCalibration::fit(
      {.d = d, .dv = dv, .budget = 12000, .clusters = 1, .exact_rows = 5, .automatic = false}, normal(100 * d, 1),
      normal(100 * d, 2), {});
  State anisotropic = create_state(attention_problem(n, 1, calibration));
  anisotropic.kept().set_fixed(attention_calibration(), as_operand(calibration));
  anisotropic.kept().finish_fixed();

  PolynomialAttentionShape shape{.tokens = n, .dv = dv, .features = {.dimension = d, .degree = 2}, .scale = 0.25};
  State monomials = create_state(attention_monomials_problem(shape));
  State sketched = create_state(attention_sketched_problem(shape, Psi(PsiKind::ams, 64, 1)));
  shape.features.centres = {.q0 = {1, 0, 0}, .k0 = {0, 1, 0}};
  for (State* state : {&monomials, &sketched}) {
    state->kept().set_fixed(attention_centres(), centres_as_operand(shape.features));
    state->kept().finish_fixed();
  }
  for (const State* state : {&anisotropic, &monomials, &sketched})
    expect_handed_over(world, *state, stream_of(state->problem(), 1), stream_of(state->problem(), 2),
                       state->problem().setting);

  State tokens = monomials;
  tokens.add(stream_of(monomials.problem(), 1));
  const std::vector<float> m = dynamic_cast<const MonomialAttentionState&>(tokens.kept()).product();
  for (const bool is_factored : {false, true}) {
    State outputs = create_state(attention_outputs_problem(shape, n, {.rows = 3, .buckets = 16}, 5, is_factored));
    outputs.kept().set_fixed(attention_product(), {m.size(), 1, {m.begin(), m.end()}});
    outputs.kept().set_fixed(attention_centres(), centres_as_operand(shape.features));
    outputs.kept().finish_fixed();
    expect_handed_over(world, outputs, stream_of(outputs.problem(), 1), stream_of(outputs.problem(), 2),
                       is_factored ? "paper" : "collapsed");
  }
}

TEST(HandOver, WhatIsNoStateIsRefused) {
  const mpi::Communicator world;
  if (world.local_size() < 2) return;
  if (world.local_rank() == alice) {
    const std::vector<std::byte> nonsense(100);
    world.local_send(nonsense, bob);
  } else if (world.local_rank() == bob) {
    const std::string text = message_of<InputError>([&] { (void)local_receive_state(world, alice); });
    EXPECT_NE(text.find("the state from rank 0"), std::string::npos) << text;
  }
  const State state = state_with_fixed(every_kind().front().problem);
  EXPECT_THROW(local_send_state(world, state, world.local_size()), UsageError);
  EXPECT_THROW(local_send_state(world, state, world.local_rank()), UsageError);
}

}  // namespace
}  // namespace weir::engine

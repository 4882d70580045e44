#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "weir/setting/setting.hpp"

namespace weir::testing_support {

/// A small problem for every kind of state that is built in, and for every variant of a kind.
struct Kind {
  std::string name;  ///< Letters, digits and underscores.
  Problem problem;
};
inline std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

inline Problem problem_of(const std::string& setting, std::map<std::string, std::uint64_t, std::less<>> sides,
                          OperandSet fixed, const SizeRequest& request, Keeps keeps = Keeps::sketch) {
  Problem problem;
  problem.setting = setting;
  problem.keeps = keeps;
  problem.sides = std::move(sides);
  for (const Operand operand : fixed) problem.roles[operand] = Role::fixed;
  setting_of(problem).infer(problem, 1);
  setting_of(problem).size(problem, request);
  return problem;
}

/// The sketches that every_kind() has where nothing else is asked for.
inline const SizeRequest small_sketch{
    .rows = 3, .buckets = 8, .lanes = 8, .gram_buckets = 8, .seed = 0xFEDC'BA98'7654'3210};

inline std::vector<Kind> every_kind(const SizeRequest& plain = small_sketch) {
  // Numbers of rows that no number of parties divides.
  const std::map<std::string, std::uint64_t, std::less<>> vector{{"n", 13}}, matrix{{"n", 13}, {"d", 3}},
      pairs{{"n1", 7}, {"n2", 5}, {"d1", 2}, {"d2", 3}}, square{{"n1", 7}, {"n2", 5}, {"d1", 2}, {"d2", 2}};
  SizeRequest p4 = plain, gram = plain, precision = plain, p1 = plain, kwise = plain;
  p4.p = 4;
  gram.exact_gram = true;
  precision.precision = {0.5, 1.5};
  p1.p = 1;
  kwise.randomness = Randomness::kwise;
  kwise.levels = 2;
  std::vector<Kind> kinds;
  const auto add = [&](const std::string& name, const Problem& problem) { kinds.push_back({name, problem}); };
  add("vector", problem_of("vector", vector, {}, plain));
  add("vector_precision", problem_of("vector", vector, {}, precision));
  add("vector_kwise_levels", problem_of("vector", vector, {}, kwise));
  add("vector_p1", problem_of("vector", vector, {}, p1));
  add("product", problem_of("product", matrix, {}, plain));
  add("product_precision", problem_of("product", matrix, {}, precision));
  add("product_x_fixed", problem_of("product", matrix, {Operand::x}, plain));
  add("product_a_fixed", problem_of("product", matrix, {Operand::A}, plain));
  add("product_p4", problem_of("product", matrix, {}, p4));
  add("product_p4_x_fixed", problem_of("product", matrix, {Operand::x}, p4));
  add("product_p4_a_fixed", problem_of("product", matrix, {Operand::A}, p4));
  add("rows", problem_of("rows", matrix, {}, plain));
  add("rows_exact_gram", problem_of("rows", matrix, {}, gram));
  add("pairs", problem_of("kronecker-two-stage", pairs, {}, plain));
  add("pairs_exact_gram", problem_of("kronecker-two-stage", pairs, {}, gram));
  add("pairs_a1_fixed", problem_of("kronecker-two-stage", pairs, {Operand::A1}, plain));
  add("pairs_factors_fixed", problem_of("kronecker-two-stage", pairs, {Operand::A1, Operand::A2}, gram));
  add("streaming_a1", problem_of("kronecker-streaming", pairs, {Operand::A2, Operand::X}, plain));
  add("streaming_a2", problem_of("kronecker-streaming", pairs, {Operand::A1, Operand::X}, plain));
  add("streaming_identity", problem_of("kronecker-streaming", square, {Operand::A2}, p1));
  for (const auto& [suffix, keeps] : {std::pair("", Keeps::exact), {"_shared", Keeps::exact_shared}}) {
    add(std::string("exact_vector") + suffix, problem_of("vector", vector, {}, plain, keeps));
    add(std::string("exact_product") + suffix, problem_of("product", matrix, {}, plain, keeps));
    add(std::string("exact_product_x_fixed") + suffix, problem_of("product", matrix, {Operand::x}, p4, keeps));
    add(std::string("exact_product_a_fixed") + suffix, problem_of("product", matrix, {Operand::A}, plain, keeps));
    add(std::string("exact_pairs") + suffix, problem_of("kronecker-two-stage", pairs, {}, plain, keeps));
  }
  add("exact_rows", problem_of("rows", matrix, {}, plain, Keeps::exact));
  // As files of version 2 are: without the operands that were fixed.
  for (const auto& [name, request] : {std::pair("product_without_x", plain), {"product_p4_without_x", p4}}) {
    Problem problem = problem_of("product", matrix, {Operand::x}, request);
    problem.sides.erase("d");
    problem.roles[Operand::x] = Role::absent;
    add(name, problem);
  }
  Problem forgotten = problem_of("kronecker-streaming", pairs, {Operand::A2, Operand::X}, plain);
  forgotten.roles = {{Operand::A1, Role::forgotten}, {Operand::A2, Role::absent}, {Operand::X, Role::absent}};
  forgotten.sides.erase("d1");
  forgotten.sides.erase("d2");
  add("streaming_without_operands", forgotten);
  return kinds;
}

/// True where the state takes events.
inline bool takes_events(const Problem& problem) {
  return std::ranges::none_of(setting_of(problem).traits().operands, [&](const OperandUse& use) {
    return problem.role(use.operand) == Role::absent || problem.role(use.operand) == Role::forgotten;
  });
}

/// Whole numbers of -4 to 4 for all of the operands of the roles: whole rows of matrices, and entries of vectors. Every
/// sum of them is exact.
inline EventBatch events_of(const Problem& problem, const std::vector<Role>& roles, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto value = [&] { return static_cast<double>(random() % 9) - 4; };
  EventBatch batch;
  for (const OperandShape& shape : shapes_of(problem, roles)) {
    for (std::uint64_t i = 0; i < shape.rows; ++i) {
      std::vector<double> row(shape.columns);
      std::ranges::generate(row, value);
      if (has_column(shape.operand)) {
        batch.rows.push_back(shape.operand, i, 1, row);
      } else {
        batch.push_back({shape.operand, i, 0, row[0]});
      }
    }
  }
  return batch;
}
inline EventBatch stream_of(const Problem& problem, std::uint64_t seed) {
  return events_of(problem, {Role::streams}, seed);
}

/// The events that a party gets: all of them, or those whose turn it is.
inline EventBatch part_for(const EventBatch& batch, Party party, bool all) {
  if (all) return batch;
  EventBatch part;
  for (std::size_t t = 0; t < batch.size(); ++t)
    if (t % party.count == party.number) part.push_back(batch[t]);
  for (std::size_t t = 0; t < batch.rows.size(); ++t)
    if (t % party.count == party.number)
      part.rows.push_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
  return part;
}

/// One party's state of no event of the stream, with its part of the fixed operands, the same ones for every kind.
inline State state_with_fixed(const Problem& problem, Party party = {}) {
  State state = create_state(problem, party);
  const bool all = setting_of(problem).gives_every_party_every_event(problem);
  for (const auto& [operand, role] : problem.roles) {
    if (role != Role::fixed || !state.kept().takes_fixed(operand)) continue;
    Problem of_one = problem;
    of_one.roles = {{operand, Role::fixed}};
    EventBatch events = events_of(of_one, {Role::fixed}, 99);
    if (!has_column(operand)) {
      state.kept().set_fixed(operand, {events.delta.size(), 1, events.delta});
      continue;
    }
    state.kept().begin_fixed(operand);
    state.add(part_for(events, party, all));
  }
  state.kept().finish_fixed();
  return state;
}

/// The same with one party's part of the stream. A state that takes no events has numbers that nothing means.
inline State state_of(const Problem& problem, std::uint64_t seed = 1, Party party = {}) {
  if (!takes_events(problem)) {
    State state = create_state(problem, party);
    double number = static_cast<double>(seed);
    for (const StateArray& array : state.arrays())
      for (double& value : array.numbers.doubles()) value = number++ - 5;
    state.updates = 17;
    return state;
  }
  State state = state_with_fixed(problem, party);
  const EventBatch stream = stream_of(problem, seed);
  state.add(part_for(stream, party, setting_of(problem).gives_every_party_every_event(problem)));
  state.updates = stream.events();
  return state;
}

/// All numbers, array after array.
inline std::vector<double> numbers_of(const State& state) {
  std::vector<double> numbers;
  for (const StateArray& array : state.arrays())
    numbers.insert(numbers.end(), array.numbers.doubles().begin(), array.numbers.doubles().end());
  return numbers;
}

}  // namespace weir::testing_support

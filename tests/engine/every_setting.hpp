#pragma once

// A problem of every setting and of every kind of state, each with a stream of whole numbers.

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"

namespace weir::engine {

struct SettingCase {
  std::string name;
  Problem problem;
  Sources sources;
  bool can_be_saved = true;
};

/// The files are gone when the last rank has left the scope. The communicator must outlive it.
class EverySetting {
 public:
  static constexpr std::uint64_t n = 40, d = 3, n2 = 30, d2 = 2;

  /// `events` in each file of a streamed operand.
  EverySetting(const mpi::Communicator& communicator, int events, const std::string& tag)
      : communicator_(communicator) {
    const SketchConfig config{.dimension = n, .buckets = 16, .lanes = 8, .seed = 3};
    const KroneckerShape shape{.n1 = n, .n2 = n2, .d1 = d, .d2 = d2};
    const GramConfig sketched{.buckets = 64, .exact = false}, exact{.buckets = 64, .exact = true};
    const std::string y = add(tag + "y.csv", vector_events("y", n, events));
    const std::string x = add(tag + "x.csv", vector_events("x", d, events));
    const std::string a = add(tag + "a.csv", matrix_events("A", n, d, events));
    const std::string rows = add(tag + "rows.csv", row_events("A", n, d, events));
    const std::string a1 = add(tag + "a1.csv", matrix_events("A1", n, d, events) + row_events("A1", n, d, events));
    const std::string a2 = add(tag + "a2.csv", matrix_events("A2", n2, d2, events) + row_events("A2", n2, d2, events));
    const std::string core = add(tag + "core.csv", matrix_events("X", d, d2, 500));
    const std::string fixed_a = add(tag + "fixed_a.csv", matrix_events("A", n, d, 500));
    const std::string fixed_a1 = add(tag + "fixed_a1.csv", matrix_events("A1", n, d, 500));
    const std::string fixed_a2 = add(tag + "fixed_a2.csv", matrix_events("A2", n2, d2, 500));

    const Problem vector = vector_problem(config);
    const Problem with_x = product_problem(config, d, {Operand::x});
    const Problem with_a = product_problem(config, d, {Operand::A});
    const Problem product = product_problem(config, d);
    const Problem of_rows = rows_problem(config, d, sketched);
    const Problem two_stage = two_stage_problem(shape, config, sketched);
    const Sources of_y = streams({y, y}), of_a = streams_and_x({a}, {2, -1, 3}), of_both = streams({a, x}),
                  of_x = streams({x}, {{Operand::A, fixed_a}}), of_factors = streams({core, a1, a2});
    cases_ = {
        {"vector", vector, of_y},
        {"exact vector", exact_of(vector), of_y},
        {"shared vector", exact_of(vector, Keeps::exact_shared), of_y, false},
        {"product, x fixed", with_x, of_a},
        {"product, x fixed, exact", exact_of(with_x), of_a},
        {"product, x fixed, lifted", product_problem(config, d, {Operand::x}, 2), streams_and_x({rows}, {2, -1, 3})},
        {"product, A fixed", with_a, of_x},
        {"product, A fixed, exact", exact_of(with_a), of_x},
        {"product", product, of_both},
        {"product, exact", exact_of(product), of_both},
        {"product, shared", exact_of(product, Keeps::exact_shared), of_both, false},
        {"product, lifted", product_problem(config, d, {}, 2), streams({rows, x})},
        {"rows", of_rows, streams({a})},
        {"rows, exact Gram", rows_problem(config, d, exact), streams({rows})},
        {"rows, exact", exact_of(of_rows), streams({a})},
        {"streaming A1", streaming_problem(shape, Operand::A1, config),
         streams({a1}, {{Operand::A2, fixed_a2}, {Operand::X, core}})},
        {"streaming A2", streaming_problem(shape, Operand::A2, config),
         streams({a2}, {{Operand::A1, fixed_a1}, {Operand::X, core}})},
        {"two-stage", two_stage, of_factors},
        {"two-stage, A2 fixed", two_stage_problem(shape, config, sketched, {Operand::A2}),
         streams({core, a1}, {{Operand::A2, fixed_a2}})},
        {"two-stage, exact", exact_of(two_stage), of_factors},
        {"two-stage, shared", exact_of(two_stage, Keeps::exact_shared), of_factors, false},
    };
  }

  [[nodiscard]] const std::vector<SettingCase>& cases() const { return cases_; }

 private:
  std::string add(const std::string& name, const std::string& content) {
    files_.push_back(std::make_unique<SharedFile>(communicator_, name, content));
    return files_.back()->path();
  }
  [[nodiscard]] int number() { return static_cast<int>(random_() % 15) - 5; }
  [[nodiscard]] std::string index(std::uint64_t length) { return "," + std::to_string(random_() % length); }
  [[nodiscard]] std::string vector_events(const std::string& operand, std::uint64_t length, int events) {
    std::string text;
    for (int t = 0; t < events; ++t) text += operand + index(length) + "," + std::to_string(number()) + "\n";
    return text;
  }
  [[nodiscard]] std::string matrix_events(const std::string& operand, std::uint64_t rows, std::uint64_t columns,
                                          int events) {
    std::string text;
    for (int t = 0; t < events; ++t)
      text += operand + index(rows) + index(columns) + "," + std::to_string(number()) + "\n";
    return text;
  }
  /// Rows that come; each second one is followed by its leaving.
  [[nodiscard]] std::string row_events(const std::string& operand, std::uint64_t rows, std::uint64_t columns,
                                       int events) {
    std::string text;
    for (int t = 0; t < events / 2; ++t) {
      const std::string row = operand + index(rows);
      std::string values;
      for (std::uint64_t j = 0; j < columns; ++j) values += "," + std::to_string(number());
      text += row + ",*" + values + "\n";
      if (t % 2 == 0) text += row + ",-*" + values + "\n";
    }
    return text;
  }

  const mpi::Communicator& communicator_;
  std::mt19937_64 random_{29};
  std::vector<std::unique_ptr<SharedFile>> files_;
  std::vector<SettingCase> cases_;
};

}  // namespace weir::engine

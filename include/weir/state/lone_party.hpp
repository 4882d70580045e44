#pragma once

#include "weir/state/parties.hpp"

namespace weir {

/// The single party of a state that is in one place, without files: see lone_party(). It keeps nothing, so that one serves
/// all threads. Who has fixed operands at hand derives from it.
class LoneParty : public Parties {
 public:
  [[nodiscard]] Party party() const override { return {}; }
  void together(const std::function<void()>& work) override { work(); }
  void work_out(const std::function<void()>& work) override { work(); }
  void sum_on_first(std::span<double>) override {}
  [[nodiscard]] Share sum_by_share(std::span<double> values) override { return {0, values}; }
  void sum_everywhere(std::vector<double>&) override {}
  [[nodiscard]] std::uint64_t sum_everywhere(std::uint64_t value) override { return value; }
  [[nodiscard]] double largest(double value) override { return value; }
  [[nodiscard]] std::vector<PlacedValue> largest_of_each(std::span<const double> values,
                                                         std::span<const std::uint64_t> indices) override;
  void broadcast(std::vector<std::uint64_t>&) override {}
  void broadcast(std::vector<double>&) override {}
  [[nodiscard]] std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    return {{bytes.begin(), bytes.end()}};
  }
  [[nodiscard]] bool can_read_again(Operand) const override { return false; }
  [[nodiscard]] bool has_rows_once(Operand) const override { return false; }
  void require_memory(std::uint64_t, const std::string&) override {}
  void read_again(Operand operand, const std::function<void(const EventBatch&)>& consume) override;
};

}  // namespace weir

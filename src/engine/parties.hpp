#pragma once

#include <map>
#include <string>
#include <vector>

#include "weir/engine/ingest.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/state/parties.hpp"
#include "weir/state/problem.hpp"

namespace weir::engine {

/// The ranks of a communicator as the parties of a state.
class RankParties : public Parties {
 public:
  /// `communicator` must outlive it. `problem` and the files of its operands may be left out: then nothing is read again.
  /// `edges` is how their lines are read.
  explicit RankParties(const mpi::Communicator& communicator) : communicator_(&communicator) {}
  /// `all_hold_all`: every rank has the whole state, and asks it the same question.
  RankParties(const mpi::Communicator& communicator, const Problem& problem, std::map<Operand, std::string> files,
              Edges edges, bool all_hold_all = false)
      : communicator_(&communicator),
        problem_(&problem),
        files_(std::move(files)),
        edges_(edges),
        all_hold_all_(all_hold_all) {}

  [[nodiscard]] Party party() const override {
    return {static_cast<std::uint32_t>(communicator_->local_rank()),
            static_cast<std::uint32_t>(communicator_->local_size())};
  }
  void together(const std::function<void()>& work) override;
  void work_out(const std::function<void()>& work) override;
  void sum_on_first(std::span<double> values) override { communicator_->reduce_sum(values); }
  [[nodiscard]] Share sum_by_share(std::span<double> values) override;
  void sum_everywhere(std::vector<double>& values) override { communicator_->all_sum(values); }
  [[nodiscard]] std::uint64_t sum_everywhere(std::uint64_t value) override { return communicator_->all_sum(value); }
  [[nodiscard]] double largest(double value) override { return communicator_->all_max(value); }
  [[nodiscard]] std::vector<PlacedValue> largest_of_each(std::span<const double> values,
                                                         std::span<const std::uint64_t> indices) override;
  void broadcast(std::vector<std::uint64_t>& values) override { communicator_->broadcast(values); }
  void broadcast(std::vector<double>& values) override { communicator_->broadcast(values); }
  [[nodiscard]] std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) override {
    return communicator_->gather(bytes);
  }
  [[nodiscard]] bool can_read_again(Operand operand) const override { return files_.contains(operand); }
  [[nodiscard]] bool has_rows_once(Operand operand) const override;
  void require_memory(std::uint64_t doubles, const std::string& what) override;
  void read_again(Operand operand, const std::function<void(const EventBatch&)>& consume) override;

 private:
  const mpi::Communicator* communicator_;
  const Problem* problem_ = nullptr;
  std::map<Operand, std::string> files_;
  Edges edges_ = Edges::unsaid;
  bool all_hold_all_ = false;
};

}  // namespace weir::engine

#include "engine/shared_work.hpp"

#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <vector>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/sample/scan_team.hpp"

namespace weir::engine {
namespace {

/// Thrown on ranks that have done nothing wrong when another one has failed, which has the error.
struct AnotherFailed {};

class RankTeam : public ScanTeam {
 public:
  explicit RankTeam(const mpi::Communicator& communicator) : communicator_(communicator) {}

  [[nodiscard]] std::uint32_t number() const override { return static_cast<std::uint32_t>(communicator_.local_rank()); }
  [[nodiscard]] std::uint32_t size() const override { return static_cast<std::uint32_t>(communicator_.local_size()); }

  [[nodiscard]] std::vector<std::vector<ScanHit>> exchange(std::uint64_t scan, std::span<const ScanHit> hits) override {
    const std::vector<std::vector<std::byte>> all = meet({Step::scan, scan}, hits);
    std::vector<std::vector<ScanHit>> found;
    for (const std::vector<std::byte>& bytes : all) {
      std::vector<ScanHit>& of_member = found.emplace_back((bytes.size() - sizeof(Message)) / sizeof(ScanHit));
      std::memcpy(of_member.data(), bytes.data() + sizeof(Message), bytes.size() - sizeof(Message));
    }
    return found;
  }

  /// This rank is at the end of its work. Nothing is left to do where the others know of a failure already.
  void finish(bool has_failed) {
    if (!is_over_) (void)meet({has_failed ? Step::failed : Step::done, 0}, {});
  }

 private:
  enum class Step : std::uint64_t { scan, done, failed };
  struct Message {
    Step step;
    std::uint64_t scan;
  };

  /// Whatever a rank does next, it comes here: no rank waits for one that has come to another end.
  std::vector<std::vector<std::byte>> meet(Message own, std::span<const ScanHit> hits) {
    std::vector<std::byte> bytes(sizeof(Message) + hits.size_bytes());
    std::memcpy(bytes.data(), &own, sizeof(Message));
    if (!hits.empty()) std::memcpy(bytes.data() + sizeof(Message), hits.data(), hits.size_bytes());
    std::vector<std::vector<std::byte>> all = communicator_.all_gather(bytes);
    bool some_failed = false, differ = false;
    for (const std::vector<std::byte>& of_member : all) {
      Message message{};
      std::memcpy(&message, of_member.data(), sizeof(Message));
      some_failed = some_failed || message.step == Step::failed;
      differ = differ || message.step != own.step || message.scan != own.scan;
    }
    is_over_ = some_failed || differ || own.step != Step::scan;
    if (own.step == Step::failed) return all;
    if (some_failed) throw AnotherFailed();
    if (differ)
      throw InputError(
          "the ranks came to different conclusions from the same numbers, as processors of several kinds may: expected "
          "--merge root");
    return all;
  }

  const mpi::Communicator& communicator_;
  bool is_over_ = false;
};

}  // namespace

void share_work(const mpi::Communicator& communicator, const std::function<void()>& work) {
  RankTeam team(communicator);
  std::exception_ptr failure;
  try {
    const SharedScans shared(team);
    work();
  } catch (const AnotherFailed&) {
  } catch (...) {
    failure = std::current_exception();
  }
  try {
    team.finish(failure != nullptr);
  } catch (const AnotherFailed&) {
  } catch (...) {
    failure = std::current_exception();
  }
  together(communicator, [&](mpi::FailureSignal&) {
    if (failure) std::rethrow_exception(failure);
  });
}

}  // namespace weir::engine

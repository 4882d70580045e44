#include "weir/engine/together.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <tuple>
#include <vector>

#include "weir/engine/memory.hpp"
#include "weir/error.hpp"

namespace weir::engine {

namespace {

using Identity = decltype(MemoryLimit::identity);

/// The groups that a rank of this machine is in.
struct GroupsOfRank {
  std::uint64_t rank = 0;
  std::vector<Identity> identities;
};

/// Those of the ranks of this machine, in the order of the ranks.
std::vector<GroupsOfRank> groups_on_machine(const mpi::Communicator& communicator,
                                            const std::vector<MemoryLimit>& limits) {
  constexpr std::size_t words = std::tuple_size_v<Identity>;
  std::vector<std::uint64_t> own{static_cast<std::uint64_t>(communicator.local_rank())};
  for (const MemoryLimit& limit : limits) own.insert(own.end(), limit.identity.begin(), limit.identity.end());
  std::vector<GroupsOfRank> all;
  for (const std::vector<std::byte>& bytes : communicator.all_gather_on_machine(std::as_bytes(std::span(own)))) {
    std::vector<std::uint64_t> given(bytes.size() / sizeof(std::uint64_t));
    std::memcpy(given.data(), bytes.data(), bytes.size());
    GroupsOfRank& groups = all.emplace_back(GroupsOfRank{given[0], std::vector<Identity>((given.size() - 1) / words)});
    for (std::size_t k = 0; k < groups.identities.size(); ++k)
      std::copy_n(given.begin() + static_cast<std::ptrdiff_t>(1 + k * words), words, groups.identities[k].begin());
  }
  return all;
}

}  // namespace

void together(const mpi::Communicator& communicator, const std::function<void(mpi::FailureSignal& signal)>& work) {
  mpi::FailureSignal signal(communicator);
  signal.local_attempt([&] { work(signal); });
  signal.agree();
}

void require_memory(const mpi::Communicator& communicator, std::uint64_t bytes, std::uint64_t bytes_more_on_root,
                    const std::string& what, const std::filesystem::path& root) {
  std::vector<MemoryLimit> limits;
  together(communicator, [&](mpi::FailureSignal&) { limits = memory_limits(root); });
  const std::vector<GroupsOfRank> machine = groups_on_machine(communicator, limits);

  together(communicator, [&](mpi::FailureSignal&) {
    constexpr double gibibyte = 1024.0 * 1024.0 * 1024.0;
    for (const MemoryLimit& limit : limits) {
      std::int64_t ranks = 0;
      bool with_root = false;
      for (const GroupsOfRank& other : machine) {
        const auto memberships = std::ranges::count(other.identities, limit.identity);
        ranks += memberships;
        with_root = with_root || (other.rank == 0 && memberships > 0);
      }
      const double wanted = static_cast<double>(bytes) * static_cast<double>(ranks) +
                            (with_root ? static_cast<double>(bytes_more_on_root) : 0.0);
      const auto available = static_cast<double>(limit.bytes);
      if (wanted > available)
        throw InputError(
            fmt::format("{} would take {:.4g} GiB for the {} rank(s) of {}, which has {:.4g} GiB of memory", what,
                        wanted / gibibyte, ranks, limit.group, available / gibibyte));
    }
  });
}

}  // namespace weir::engine

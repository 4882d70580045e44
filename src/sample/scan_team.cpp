#include "weir/sample/scan_team.hpp"

namespace weir {
namespace {

thread_local ScanTeam* team_of_thread = nullptr;

}  // namespace

SharedScans::SharedScans(ScanTeam& team) noexcept { team_of_thread = &team; }
SharedScans::~SharedScans() { team_of_thread = nullptr; }
ScanTeam* SharedScans::team() noexcept { return team_of_thread; }

}  // namespace weir

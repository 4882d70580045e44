#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <tuple>

#include "weir/mpi/communicator.hpp"

namespace weir::engine {

/// A file that rank 0 writes and every rank reads; it is gone when the last rank has left the scope.
/// The communicator must outlive it.
class SharedFile {
 public:
  SharedFile(const mpi::Communicator& communicator, const std::string& name, const std::string& content)
      : communicator_(communicator) {
    const std::uint64_t process = communicator.broadcast(static_cast<std::uint64_t>(::getpid()));
    path_ = testing::TempDir() + "weir_engine_" + std::to_string(process) + "_" + name;
    if (communicator.local_is_root()) std::ofstream(path_) << content;
    std::ignore = communicator.all_sum(1);
  }
  ~SharedFile() {
    std::ignore = communicator_.all_sum(1);
    if (communicator_.local_is_root()) std::remove(path_.c_str());
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const mpi::Communicator& communicator_;
  std::string path_;
};

}  // namespace weir::engine

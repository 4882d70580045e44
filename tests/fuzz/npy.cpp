#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "weir/error.hpp"
#include "weir/io/operand.hpp"

// All formats of an operand: .npy, Matrix Market, plain numbers, compressed ones; and what may be picked out of it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = memfd_create("operand", 0);
  if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size))
    __builtin_trap();
  for (const char* pick : {"", "[a]", "[1]", "[a][0]", "[1,0]", "[bfloat16]"}) {
    try {
      const weir::DenseMatrix matrix = weir::load_operand("/proc/self/fd/" + std::to_string(file) + pick);
      if (matrix.values.size() != matrix.rows * matrix.columns) __builtin_trap();
    } catch (const weir::InputError&) {
    }
  }
  return 0;
}

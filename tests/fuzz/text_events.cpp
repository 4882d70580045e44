#include <cstdlib>
#include <vector>

#include "reading.hpp"

// Whatever the bytes are, reading them ends in events or in an InputError; skipping bad lines, all slices together read
// what the whole does.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weir;
  const std::span bytes = std::as_bytes(std::span(data, size));
  (void)fuzz::read(bytes, {.batch = 64});
  for (const auto& shapes :
       {std::vector<OperandShape>{}, {{Operand::y, 1000, 1}}, {{Operand::A, 1000, 3}, {Operand::x, 3, 1}}}) {
    ReadOptions options{.on_error = OnError::skip, .shapes = shapes, .batch = 16};
    if (!shapes.empty()) options.default_operand = shapes[0].operand;
    fuzz::require_slices_agree(bytes, options);
    options.edges = size % 3 == 0 ? Edges::both : size % 3 == 1 ? Edges::in : Edges::none;
    fuzz::require_slices_agree(bytes, options);
  }
  return 0;
}

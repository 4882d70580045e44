#include <array>
#include <cstdlib>
#include <string>

#include "reading.hpp"
#include "weir/io/npy.hpp"

// A .npy file as a stream: the input as it comes, and as the data of an array whose header the first three bytes
// choose, so that it fits. Slices read together what one party reads.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weir;
  const auto read = [](std::string_view file, Operand operand) {
    const auto bytes = std::as_bytes(std::span(file));
    ReadOptions options{.default_operand = operand, .batch = 16};
    const auto strict = fuzz::read(bytes, options);
    fuzz::require_slices_agree(bytes, options);
    options.on_error = OnError::skip;
    const auto lenient = fuzz::read(bytes, options);
    fuzz::require_slices_agree(bytes, options);
    if (strict && strict != lenient) std::abort();
  };
  const std::string text(reinterpret_cast<const char*>(data), size);
  read(std::string(npy_magic) + text, Operand::A);
  if (size < 3) return 0;
  struct Type {
    const char* code;
    std::size_t size;
  };
  static constexpr std::array<Type, 6> types{{{"<f4", 4}, {">f8", 8}, {"|i1", 1}, {">u2", 2}, {"<i4", 4}, {"<u8", 8}}};
  const Type type = types[data[0] % types.size()];
  const std::size_t columns = 1 + data[1] % 9;
  const std::size_t rows = (size - 3) / (type.size * columns);
  const std::string header = "{'descr': '" + std::string(type.code) +
                             "', 'fortran_order': " + (data[2] % 2 == 0 ? "True" : "False") + ", 'shape': (" +
                             std::to_string(rows) + ", " + std::to_string(columns) + ")}";
  std::string file = std::string(npy_magic) + '\1' + '\0' + static_cast<char>(header.size()) + '\0' + header;
  file.append(text, 3, rows * columns * type.size);
  read(file, data[2] / 2 % 2 == 0 ? Operand::A : Operand::y);
  return 0;
}

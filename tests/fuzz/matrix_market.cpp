#include <cstdlib>
#include <string>

#include "reading.hpp"

// As fuzz_text_events, behind a banner that the input need not find out.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weir;
  if (size == 0) return 0;
  static constexpr const char* kinds[] = {
      "coordinate real general",   "coordinate pattern symmetric", "coordinate integer skew-symmetric",
      "coordinate real symmetric", "array real general",           "array integer symmetric",
      "array real skew-symmetric", "coordinate real hermitian"};
  std::string text = std::string(data[0] % 3 == 0 ? " %" : "%%") + "MatrixMarket matrix " +
                     kinds[data[0] % 4 + (data[0] >= 128 ? 4 : 0)] + "\n";
  text.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::span bytes = std::as_bytes(std::span(text));
  ReadOptions options{.on_error = OnError::skip, .default_operand = Operand::A};
  options.batch = 1 + data[0] / 4;
  fuzz::require_slices_agree(bytes, options);
  options.on_error = OnError::stop;
  (void)fuzz::read(bytes, options);
  return 0;
}

#include <cstdlib>
#include <memory>

#include "reading.hpp"

// Tables and JSON with keys: whatever the bytes are, reading them ends in events or in an InputError; skipping bad lines, all
// slices together read what the whole does, and keep the same names.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weir;
  const std::span bytes = std::as_bytes(std::span(data, size));
  const Columns all[] = {{.key = {"1"}},
                         {.key = {"k"}, .delta = "n"},
                         {.key = {"k", "#2"}, .delta = "3", .sign = "s"},
                         {.key = {"2"}, .delta = "1.5", .separator = ' '},
                         {.key = {"a.b"}, .delta = "a.0"},
                         {.key = {"1"}, .delta = "2", .header = HeaderLine::yes}};
  for (const Columns& columns : all) {
    ReadOptions options{.on_error = OnError::skip, .columns = columns, .key_seed = 1, .batch = 16};
    fuzz::require_slices_agree(bytes, options);
    const auto names_of = [&](std::uint32_t slices) {
      NameTable table(8);
      for (options.slice = 0; options.slice < slices; ++options.slice) {
        options.slice_count = slices;
        options.names = std::make_shared<NameSink>(8);
        (void)fuzz::read(bytes, options);
        table.merge(options.names->take());
      }
      return table;
    };
    if (names_of(1) != names_of(3)) std::abort();
  }
  return 0;
}

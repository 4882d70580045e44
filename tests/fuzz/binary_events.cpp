#include <xxhash.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "reading.hpp"
#include "stream/binary_layout.hpp"

// A binary event file of one block whose head and payload are the input, under checksums that are right, so that what
// lies behind them is reached; and the input itself as a file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weir;
  using namespace weir::stream;
  (void)fuzz::read(std::as_bytes(std::span(data, size)), {.batch = 64});
  constexpr std::size_t encodings = 8;  // count and the four encodings of a block
  if (size < encodings) return 0;
  BlockHead head{};
  std::memcpy(&head.count, data, 4);
  head.count %= 100;
  std::memcpy(&head.operands, data + 4, 4);
  head.tag = block_tag;
  const auto layout = layout_of(head);
  if (!layout) return 0;
  head.payload = static_cast<std::uint32_t>(layout->payload);
  std::string payload(reinterpret_cast<const char*>(data) + encodings, size - encodings);
  payload.resize(layout->payload);

  FileHeader header{{}, binary_version, 0, 0};
  std::memcpy(header.magic.data(), binary_magic.data(), header.magic.size());
  header.checksum = XXH3_64bits(&header, 16);
  std::string file(reinterpret_cast<const char*>(&header), sizeof header);
  std::string block = std::string(reinterpret_cast<const char*>(&head), sizeof head) + payload;
  const IndexEntry entry{sizeof header, 0};
  const IndexTail tail{1, head.count, sizeof header + block.size(), end_mark};
  const IndexHead index_head{0, index_tag, 0};
  std::string index(reinterpret_cast<const char*>(&index_head), sizeof index_head);
  index.append(reinterpret_cast<const char*>(&entry), sizeof entry)
      .append(reinterpret_cast<const char*>(&tail), sizeof tail);
  for (std::string* part : {&block, &index}) {
    const std::uint64_t checksum = XXH3_64bits(part->data() + 8, part->size() - 8);
    std::memcpy(part->data(), &checksum, sizeof checksum);
    file += *part;
  }
  const auto events = fuzz::read(std::as_bytes(std::span(file)), {.batch = 64});
  if (events && events->entries.size() != head.count) std::abort();
  fuzz::require_slices_agree(std::as_bytes(std::span(file)), {.on_error = OnError::skip, .batch = 16});
  return 0;
}

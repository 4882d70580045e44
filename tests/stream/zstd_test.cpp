#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "stream_testing.hpp"
#include "weir/io/labels.hpp"
#include "weir/io/operand.hpp"

// Built only where libzstd is.

namespace weir {
namespace {

using namespace weir::testing_support;

/// `text` as a frame, with a checksum.
std::string zstd(std::string_view text, int window_log = 0) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  if (window_log > 0) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  }
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_outBuffer into{out.data(), out.size(), 0};
  // In two steps, so that the size is not known at the beginning.
  ZSTD_inBuffer from{text.data(), text.size(), 0};
  EXPECT_EQ(ZSTD_isError(ZSTD_compressStream2(context, &into, &from, ZSTD_e_continue)), 0u);
  EXPECT_EQ(ZSTD_compressStream2(context, &into, &from, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  out.resize(into.pos);
  return out;
}

/// A frame that says nothing.
std::string skippable(std::string_view text) {
  std::string frame = "\x53\x2A\x4D\x18";
  for (int k = 0; k < 4; ++k) frame += static_cast<char>(text.size() >> (8 * k) & 0xff);
  return frame + std::string(text);
}

const std::string text = "1,2\n# comment\n3,4\n5,6\n";
const std::vector<Event> events = {{Operand::y, 1, 0, 2}, {Operand::y, 3, 0, 4}, {Operand::y, 5, 0, 6}};

TEST(Zstd, OneFrameOrMany) {
  const TemporaryDirectory directory;
  for (const std::string& bytes :
       {zstd(text), zstd("1,2\n3,") + zstd("4\n5,6\n"),
        zstd("1,2\n") + skippable("note") + zstd("") + zstd("3,4\n5,6\n"), skippable("seek table") + zstd(text),
        zstd(text) + skippable("seek table"), zstd(text) + std::string(1000000, '\0')}) {
    const std::string path = directory.write("e.csv", bytes);
    EXPECT_EQ(stream_format(path), StreamFormat::zstd);
    EXPECT_EQ(content_format(path), StreamFormat::text);
    EXPECT_EQ(read_file(path), events);
  }
  EXPECT_EQ(load_operand(directory.write("x.zst", zstd("1\n2\n"))), (DenseMatrix{2, 1, {1, 2}}));
  EXPECT_EQ(Labels(directory.write("l.zst", zstd("a\nb\n"))).check(), 2u);
}

TEST(Zstd, LargeStreamsAndPositions) {
  std::string lines;
  std::vector<Event> expected;
  for (std::uint64_t i = 0; i < 200000; ++i) {
    lines += fmt::format("{},{}\n", i, i % 7);
    expected.push_back({Operand::y, i, 0, static_cast<double>(i % 7)});
  }
  const TemporaryDirectory directory;
  const std::size_t half = lines.size() / 2;
  const std::string path = directory.write(
      "e.zst", zstd(std::string_view(lines).substr(0, half)) + zstd(std::string_view(lines).substr(half)));
  EXPECT_EQ(read_file(path), expected);
  // It belongs to one party, which goes on where another stopped.
  for (std::uint32_t slice = 0; slice < 2; ++slice) {
    EventReader reader({path}, {.slice = slice, .slice_count = 2});
    EventBatch batch;
    EXPECT_EQ(reader.next(batch, 1000), slice == 0);
    if (slice == 0) {
      const std::size_t taken = batch.size();
      EventReader later({path}, {.ranges = reader.unread()});
      EXPECT_EQ(drain(later),
                std::vector<Event>(expected.begin() + static_cast<std::ptrdiff_t>(taken), expected.end()));
    }
  }
}

TEST(Zstd, DamageIsFound) {
  const TemporaryDirectory directory;
  const std::string bytes = zstd("1,2\n3,") + zstd("4\n5,6\n");
  const std::size_t first = zstd("1,2\n3,").size();
  for (std::size_t length = 4; length < bytes.size(); ++length) {
    if (length == first) continue;
    const std::string path = directory.write("cut.zst", bytes.substr(0, length));
    EXPECT_EQ(
        input_error([&] { (void)read_file(path); }),
        fmt::format(
            "{}: byte {} of the compressed data: the file ends in the middle of the compressed data; it is truncated",
            path, length));
  }
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    std::vector<Event> read;
    const std::string path = directory.write("flip.zst", damaged);
    const std::string message = input_error([&] { read = read_file(path); });
    EXPECT_TRUE(!message.empty() || read == std::vector<Event>({events[0], events[1], events[2]})) << bit;
  }
  EXPECT_NE(input_error([&] { (void)read_file(directory.write("more.zst", bytes + "more")); }), "");
  const std::string twice = directory.write("twice.zst", zstd(zstd(text)));
  EXPECT_EQ(
      input_error([&] { (void)read_file(twice); }),
      fmt::format("{0}: compressed twice, by zstd and in that zstd: expected the content after one decompression, as "
                  "by zstd -dc {0} >FILE",
                  twice));
}

TEST(Zstd, WindowsOfGigabytesAreNotAllocated) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("wide.zst", zstd(text, 30));
  const std::string message = input_error([&] { (void)read_file(path); });
  EXPECT_NE(message.find("zstd -dc --long=31"), std::string::npos) << message;
}

}  // namespace
}  // namespace weir

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <map>

#include "io/npy_bytes.hpp"
#include "stream_testing.hpp"
#include "weir/io/labels.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

/// `text` as a gzip file with every field that a header can have: extra bytes, a name, a comment and a checksum.
std::string gzip_with_fields(std::string text) {
  z_stream deflater{};
  EXPECT_EQ(deflateInit2(&deflater, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string extra = "ex", name = "name", comment = "a comment";
  gz_header fields{};
  fields.extra = reinterpret_cast<Bytef*>(extra.data());
  fields.extra_len = static_cast<uInt>(extra.size());
  fields.name = reinterpret_cast<Bytef*>(name.data());
  fields.comment = reinterpret_cast<Bytef*>(comment.data());
  fields.hcrc = 1;
  EXPECT_EQ(deflateSetHeader(&deflater, &fields), Z_OK);
  std::string out(text.size() + 1000, '\0');
  deflater.next_in = reinterpret_cast<Bytef*>(text.data());
  deflater.avail_in = static_cast<uInt>(text.size());
  deflater.next_out = reinterpret_cast<Bytef*>(out.data());
  deflater.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&deflater, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - deflater.avail_out);
  deflateEnd(&deflater);
  return out;
}

/// Calls `check` with every copy of `bytes` in which one bit is another.
template <class Check>
void for_each_flip(const std::string& bytes, const Check& check) {
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    SCOPED_TRACE(fmt::format("bit {} of byte {} of {}", bit % 8, bit / 8, bytes.size()));
    check(damaged);
  }
}

/// Files whose content ends in different ways: whether it ends with a line's end, and how often the reader looks for
/// more, differs among the formats.
std::map<std::string, std::string> event_files() {
  const TemporaryDirectory directory;
  write_events(directory / "binary", {{Operand::A, 1, 2, 3}, {Operand::A, 4, 5, 0.5}}, EventFormat::binary);
  return {{"text", "A,1,2,3\n# note\nA,4,5,0.5\n"},
          {"text without an end", "A,1,2,3\nA,4,*,1,2"},
          {"binary", contents_of(directory / "binary")},
          {"Matrix Market", "%%MatrixMarket matrix coordinate integer general\n9 9 2\n1 2 3\n4 5 6\n"},
          {".npy", npy(dictionary("<f8", "False", "(2, 2)"), raw(std::vector<double>{1, 2, 3, 4}))}};
}

TEST(DamagedGzip, EveryFlipOfABitIsRefusedOrHarmlessToEvents) {
  for (const auto& [name, content] : event_files()) {
    for (const std::string& bytes :
         {gzip(content), gzip_with_fields(content),
          gzip(content.substr(0, content.size() / 2)) + gzip(content.substr(content.size() / 2))}) {
      for (const OnError on_error : {OnError::stop, OnError::skip}) {
        const ReadOptions options{.on_error = on_error, .default_operand = Operand::A};
        const Delivered expected = deliver(bytes, options);
        ASSERT_FALSE(expected == Delivered());
        std::size_t refused = 0;
        for_each_flip(bytes, [&](const std::string& damaged) {
          SCOPED_TRACE(name);
          Delivered delivered;
          if (!input_error([&] { delivered = deliver(damaged, options); }).empty()) {
            ++refused;
          } else {
            EXPECT_TRUE(delivered == expected);
          }
        });
        EXPECT_GT(refused, 4 * bytes.size());
      }
    }
  }
}

TEST(DamagedGzip, EveryFlipOfABitIsRefusedOrHarmlessToLabels) {
  const TemporaryDirectory directory;
  const std::vector<std::uint64_t> all{0, 1, 2, 3};
  const std::string path = directory / "names";
  for (const std::string& bytes :
       {gzip("zero\none\ntwo\n"), gzip_with_fields("zero\none\ntwo\nthree"), gzip("zero\non") + gzip("e\n")}) {
    directory.write("names", bytes);
    const Labels whole(path);
    const auto expected = whole.find(all);
    const std::uint64_t lines = whole.check();
    std::size_t refused = 0;
    for_each_flip(bytes, [&](const std::string& damaged) {
      directory.write("names", damaged);
      const Labels labels(path);
      std::uint64_t found = 0;
      std::map<std::uint64_t, std::string> names;
      if (!input_error([&] { found = labels.check(); }).empty()) {
        ++refused;
      } else {
        EXPECT_EQ(found, lines);
        EXPECT_EQ(labels.find(all), expected);
      }
    });
    EXPECT_GT(refused, 4 * bytes.size());
  }
}

}  // namespace
}  // namespace weir

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <numeric>

#include "io/npy_bytes.hpp"
#include "io/zip_bytes.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/io/operand.hpp"

namespace weir {
namespace {

using namespace testing_support;

std::string vector_of(const std::vector<double>& values) {
  return npy(dictionary("<f8", "False", fmt::format("({},)", values.size())), raw(values));
}

class Pick : public ::testing::Test {
 protected:
  void refuse(const std::string& name, std::initializer_list<std::string_view> parts) const {
    expect_error([&] { (void)load_npy(directory_ / name); }, parts);
    expect_error([&] { (void)load_npy(directory_ / name); }, {std::string_view(name).substr(0, name.find('['))});
  }
  DenseMatrix load(const std::string& name) const { return load_npy(directory_ / name); }
  TemporaryDirectory directory_;
};

TEST_F(Pick, MembersOfArchives) {
  for (const bool is_deflated : {false, true}) {
    for (const bool zip64 : {false, true}) {
      directory_.write("a.npz",
                       zip({{"q.npy", vector_of({1, 2}), is_deflated}, {"k.npy", vector_of({3}), is_deflated}}, zip64));
      EXPECT_EQ(load("a.npz[q]"), (DenseMatrix{2, 1, {1, 2}}));
      EXPECT_EQ(load("a.npz[k.npy]"), (DenseMatrix{1, 1, {3}}));
      EXPECT_EQ(load("a.npz[q][1]"), (DenseMatrix{1, 1, {2}}));
      EXPECT_EQ(load_operand(directory_ / "a.npz[k]"), (DenseMatrix{1, 1, {3}}));
      refuse("a.npz", {"has 2 arrays", "in brackets", "q, k"});
      refuse("a.npz[v]", {"no array 'v'", "q, k"});
      directory_.write("one.npz", zip({{"arr_0.npy", vector_of({5}), is_deflated}, {"note.txt", "", false}}, zip64));
      EXPECT_EQ(load("one.npz"), (DenseMatrix{1, 1, {5}}));
    }
  }
  // A file of that name comes first.
  directory_.write("a.npz[q]", vector_of({7}));
  EXPECT_EQ(load("a.npz[q]"), (DenseMatrix{1, 1, {7}}));
}

TEST_F(Pick, BadArchives) {
  directory_.write("text.zip", zip({{"events.csv", "1,2\n"}}));
  refuse("text.zip", {"without arrays", "unzip -p"});
  directory_.write("locked.npz", zip({{"q.npy", vector_of({1}), false, 1}}));
  refuse("locked.npz", {"encrypted"});
  directory_.write("bzip2.npz", zip({{"q.npy", vector_of({1}), false, 0, 12}}));
  refuse("bzip2.npz", {"method 12", "stored or deflated"});
  for (const bool is_deflated : {false, true}) {
    for (const bool zip64 : {false, true}) {
      const std::string whole = zip({{"q.npy", vector_of({1, 2}), is_deflated}}, zip64);
      for (std::size_t length = 4; length < whole.size(); ++length) {
        directory_.write("cut.npz", whole.substr(0, length));
        EXPECT_THROW((void)load("cut.npz[q]"), InputError) << length;
      }
      // A member is verified where it is read from front to back, and of the rest what is used.
      for (std::size_t bit = 8 * 4; bit < 8 * whole.size(); ++bit) {
        std::string damaged = whole;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
        directory_.write("flip.npz", damaged);
        try {
          EXPECT_EQ(load("flip.npz[q]"), (DenseMatrix{2, 1, {1, 2}})) << bit;
        } catch (const InputError&) {
        }
      }
    }
  }
}

TEST_F(Pick, NamesOfMembers) {
  // Python writes such archives with a warning.
  directory_.write("two.npz", zip({{"q.npy", vector_of({1})}, {"q.npy", vector_of({2})}, {"k.npy", vector_of({3})}}));
  refuse("two.npz[q]", {"has 2 arrays called 'q'", "one of each name"});
  refuse("two.npz[q.npy]", {"has 2 arrays called 'q.npy'"});
  EXPECT_EQ(load("two.npz[k]"), (DenseMatrix{1, 1, {3}}));
  directory_.write("nested.npz", zip({{"q.npy.npy", vector_of({1})}, {"q.npy", vector_of({2})}}));
  EXPECT_EQ(load("nested.npz[q.npy]"), (DenseMatrix{1, 1, {2}}));
  EXPECT_EQ(load("nested.npz[q.npy.npy]"), (DenseMatrix{1, 1, {1}}));
  EXPECT_EQ(load("nested.npz[q]"), (DenseMatrix{1, 1, {2}}));
  // What is quoted is short, and printable.
  const std::string path = "locked.npz", name = "\x1b[2J" + std::string(5000, 'q') + ".npy";
  directory_.write(path, zip({{name, vector_of({1}), false, 1}}));
  const std::string message = message_of<InputError>([&] { (void)load(path); });
  EXPECT_LT(message.size(), 200 + (directory_ / path).size());
  EXPECT_NE(message.find("'\\x1b[2Jqqq"), std::string::npos) << message;
}

TEST_F(Pick, ArchivesAreNotCompressedAgain) {
  directory_.write("z.npz.gz", gzip(zip({{"a.npy", vector_of({1})}})));
  const std::string file = directory_ / "z.npz.gz";
  for (const std::string name : {"z.npz.gz[a]", "z.npz.gz"})
    refuse(name, {"compressed twice, by gzip and in that zip", "as by gzip -dc " + file + " >FILE"});
}

TEST_F(Pick, ChecksumsOfWhatIsStored) {
  std::vector<double> values(3 * 70001);
  std::iota(values.begin(), values.end(), 0.0);
  for (const std::string order : {"False", "True"}) {
    for (const std::string shape : {"(70001, 3)", "(210003,)"}) {
      const std::string array = npy(dictionary("<f8", order, shape), raw(values));
      std::string archive = zip({{"a.npy", array}});
      directory_.write("a.npz", archive);
      EXPECT_EQ(load("a.npz[a]").values.size(), values.size());
      // A bit of the last entry, which is another number.
      const std::size_t last = archive.find(array) + array.size() - 8;
      archive[last] = static_cast<char>(archive[last] ^ 1);
      directory_.write("a.npz", archive);
      refuse("a.npz[a]", {"its CRC-32 is", "it is damaged"});
      // Piece by piece, all of it.
      const NpyFile file(directory_ / "a.npz");
      const std::uint64_t rows = file.header().rows;
      if (order == "False") {
        (void)file.rows(0, rows - 1);
        EXPECT_THROW((void)file.rows(rows - 1, 1), InputError);
        // Not all of it, in another order.
        const NpyFile other(directory_ / "a.npz");
        (void)other.rows(rows - 1, 1);
        (void)other.rows(0, 1);
      }
    }
  }
}

TEST_F(Pick, PartsOfArrays) {
  // Entry (a, b, c) of a 2 x 3 x 4 array is 100 a + 10 b + c, in both orders.
  std::vector<std::int16_t> c_order, fortran_order;
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 3; ++b)
      for (int c = 0; c < 4; ++c) c_order.push_back(static_cast<std::int16_t>(100 * a + 10 * b + c));
  for (int c = 0; c < 4; ++c)
    for (int b = 0; b < 3; ++b)
      for (int a = 0; a < 2; ++a) fortran_order.push_back(static_cast<std::int16_t>(100 * a + 10 * b + c));
  const DenseMatrix second{3, 4, {100, 101, 102, 103, 110, 111, 112, 113, 120, 121, 122, 123}};
  const std::string c_bytes = npy(dictionary("<i2", "False", "(2, 3, 4)"), raw(c_order));
  const std::string fortran_bytes = npy(dictionary(">i2", "True", "(2, 3, 4)"), raw(fortran_order, std::endian::big));
  for (const std::string& bytes : {c_bytes, fortran_bytes}) {
    directory_.write("h.npy", bytes);
    directory_.write("h.npy.gz", gzip(bytes));
    directory_.write("h.npz", zip({{"h.npy", bytes, true}, {"g.npy", bytes}}));
    for (const std::string file : {"h.npy", "h.npy.gz", "h.npz[h]", "h.npz[g]"}) {
      EXPECT_EQ(load(file + "[1]"), second) << file;
      EXPECT_EQ(load(file + "[1][2]"), (DenseMatrix{4, 1, {120, 121, 122, 123}})) << file;
      EXPECT_EQ(load(file + "[1,2]"), (DenseMatrix{4, 1, {120, 121, 122, 123}})) << file;
      EXPECT_EQ(load(file + "[0,1,3]"), (DenseMatrix{1, 1, {13}})) << file;
      refuse(file, {"at most 2 dimensions, found 3 (2 x 3 x 4)", "[0]"});
      refuse(file + "[2]", {"no part 2 of the 2"});
      refuse(file + "[0,3]", {"no part 3 of the 3"});
      refuse(file + "[0,0,0,0]", {"4 indices", "3 dimensions"});
      for (const std::string bad : {"[-1]", "[]", "[1,]", "[q]", "[1 2]", "[99999999999999999999]"})
        refuse(file + bad, {"picks nothing"});
    }
  }
  directory_.write("four.npy", npy(dictionary("|u1", "False", "(1, 2, 1, 2)"), "\x01\x02\x03\x04"));
  EXPECT_EQ(load("four.npy[0,1]"), (DenseMatrix{1, 2, {3, 4}}));
  refuse("four.npy", {"found 4", "[0,0]"});
  directory_.write("text.csv", "1,2\n");
  refuse("text.csv[1]", {"not an array"});
  refuse("none.npy[1]", {"No such file"});
}

TEST_F(Pick, PartsThatLieAcrossPieces) {
  std::vector<float> values(3 * 70001);
  std::iota(values.begin(), values.end(), 0.0F);
  directory_.write("f.npy", npy(dictionary("<f4", "True", "(3, 70001)"), raw(values)));
  const DenseMatrix part = load("f.npy[1]");
  ASSERT_EQ(part.rows, 70001u);
  for (std::size_t k = 0; k < part.rows; ++k) ASSERT_EQ(part.values[k], static_cast<double>(3 * k + 1));
}

TEST_F(Pick, SizesAndShapesThatLie) {
  const std::string data = raw<double>({1, 2, 3, 4, 5, 6, 7, 8});
  directory_.write("short.npy", npy(dictionary("<f8", "False", "(2, 2, 3)"), data));
  refuse("short.npy[0]", {"2 x 2 x 3 entries", "found 64 bytes"});
  directory_.write("wraps.npy", npy(dictionary("<f8", "False", "(4611686018427387904, 2, 2)"), data));
  refuse("wraps.npy[0]", {"2^63 bytes"});
  std::string sides = "2";
  for (int k = 1; k < 3000; ++k) sides += ", 2";
  directory_.write("many.npy", npy(dictionary("<f8", "False", "(" + sides + ")"), data));
  refuse("many.npy", {"found 3000 (2 x 2 x 2 x 2 x 2 x 2 x 2 x 2 x ...)"});
  EXPECT_LT(message_of<InputError>([&] { (void)load("many.npy"); }).size(), 300 + (directory_ / "many.npy").size());
  directory_.write("none.npy", npy(dictionary("<f8", "False", "(0, 2, 2)"), ""));
  refuse("none.npy[0]", {"no part 0 of the 0"});
  directory_.write("cut.npy.gz", gzip(npy(dictionary("<f8", "False", "(2, 2, 2)"), data.substr(0, 40))));
  EXPECT_EQ(load("cut.npy.gz[0]"), (DenseMatrix{2, 2, {1, 2, 3, 4}}));
  refuse("cut.npy.gz[1]", {"found"});
  // Nothing is decompressed, nor is memory taken, where the file cannot hold so much, however well it is compressed.
  for (const std::string shape : {"(1000, 1000000)", "(3037000499, 3037000499)"}) {
    const std::string lie = npy(dictionary("<f8", "False", shape), data);
    directory_.write("lie.npy", lie);
    refuse("lie.npy", {"entries of 8 bytes", "found 64 bytes"});
    directory_.write("lie.npy.gz", gzip(lie));
    refuse("lie.npy.gz", {"entries of 8 bytes", "found at most"});
    directory_.write("lie.npz", zip({{"a.npy", lie, true}}));
    refuse("lie.npz[a]", {"entries of 8 bytes", "found at most 64 bytes"});
  }
  directory_.write("lie.npz", zip({{"a.npy", npy(dictionary("<f8", "False", "(3, 3, 3)"), data), true}}));
  refuse("lie.npz[a][0]", {"3 x 3 x 3 entries", "found at most 64 bytes"});
}

TEST_F(Pick, Bfloat16AndBool) {
  // 1 sign, 8 exponent, 7 fraction: 1, -2, 0.5, the float 3.140625.
  const std::vector<std::uint16_t> bits{0x3f80, 0xc000, 0x3f00, 0x4049};
  const DenseMatrix expected{4, 1, {1, -2, 0.5, 3.140625}};
  for (const std::string descr : {"<u2", "<V2", "|V2"}) {
    directory_.write("b.npy", npy(dictionary(descr, "False", "(4,)"), raw(bits)));
    EXPECT_EQ(load("b.npy[bfloat16]"), expected) << descr;
    EXPECT_EQ(load("b.npy[bfloat16][1]"), (DenseMatrix{1, 1, {-2}}));
    EXPECT_EQ(load("b.npy[1][bfloat16]"), (DenseMatrix{1, 1, {-2}}));
  }
  refuse("b.npy", {"'|V2'", "[bfloat16]"});
  directory_.write("b.npy", npy(dictionary(">u2", "False", "(4,)"), raw(bits, std::endian::big)));
  EXPECT_EQ(load("b.npy[bfloat16]"), expected);
  // Without it they are the numbers that they say.
  EXPECT_EQ(load("b.npy"), (DenseMatrix{4, 1, {0x3f80, 0xc000, 0x3f00, 0x4049}}));
  directory_.write("n.npy", npy(dictionary("<u2", "False", "(1,)"), raw<std::uint16_t>({0x7f80})));
  refuse("n.npy[bfloat16]", {"inf at row 0"});
  directory_.write("f.npy", npy(dictionary("<f4", "False", "(1,)"), raw<float>({1})));
  refuse("f.npy[bfloat16]", {"u2 or V2", "'<f4'"});
  directory_.write("t.npy", npy(dictionary("|b1", "False", "(3,)"), std::string("\x01\x00\x01", 3)));
  EXPECT_EQ(load("t.npy"), (DenseMatrix{3, 1, {1, 0, 1}}));
}

TEST_F(Pick, CompressedArrays) {
  directory_.write("a.npy.gz", gzip(vector_of({1, 2, 3})));
  EXPECT_EQ(load("a.npy.gz"), (DenseMatrix{3, 1, {1, 2, 3}}));
  const NpyFile file(directory_ / "a.npy.gz");
  EXPECT_EQ(file.rows(1, 2), (DenseMatrix{2, 1, {2, 3}}));
  directory_.write("a.npy.gz", gzip(vector_of({1, 2, 3}) + "x"));
  refuse("a.npy.gz", {"3 x 1 entries", "found 25 bytes"});
  directory_.write("a.npy.gz", gzip(vector_of({1, 2, 3}).substr(0, 140)));
  refuse("a.npy.gz", {"3 x 1 entries", "found 12 bytes"});
}

}  // namespace
}  // namespace weir

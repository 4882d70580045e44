#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "stream/arriving_stream.hpp"
#include "stream/columns.hpp"
#include "stream/message_events.hpp"
#include "stream_testing.hpp"
#include "weir/random/key_hash.hpp"
#include "weir/stream/live_source.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

constexpr std::uint64_t seed = 77;

ReadOptions keyed(std::vector<std::string> key, const std::string& delta = "", const std::string& sign = "") {
  ReadOptions options;
  options.columns = {.key = std::move(key), .delta = delta, .sign = sign};
  options.key_seed = seed;
  return options;
}
Event event(std::string_view key, double delta) { return {Operand::y, key_of_text(seed, key), 0, delta}; }

const std::string flows =
    "src,dst,bytes\n10.0.0.1,10.0.0.2,100\n\"10.0.0.1\", 10.0.0.3 ,2.5\r\n\n::1,\"a,\"\"b\"\"\",7\n";

TEST(Columns, AreCalledByNameOrByNumber) {
  const std::vector<Event> by_source{event("10.0.0.1", 100), event("10.0.0.1", 2.5), event("::1", 7)};
  EXPECT_EQ(read_text(flows, keyed({"src"}, "bytes")), by_source);
  EXPECT_EQ(read_text(flows, keyed({"1"}, "3")), by_source);  // no number where the delta would be: a header
  EXPECT_EQ(read_text(flows, keyed({"#1"}, "bytes")), by_source);
  const std::string bare = flows.substr(flows.find('\n') + 1);
  EXPECT_EQ(read_text(bare, keyed({"1"}, "3")), by_source);
  const std::vector<Event> lines{event("10.0.0.2", 1), event("10.0.0.3", 1), event("a,\"b\"", 1)};
  EXPECT_EQ(read_text(flows, keyed({"dst"})), lines);
  EXPECT_EQ(read_text(bare, keyed({"2"}, "1")), lines);
  ReadOptions with_header = keyed({"2"}, "-2.5");
  with_header.columns.header = HeaderLine::yes;
  EXPECT_EQ(read_text(flows, with_header)[1], event("10.0.0.3", -2.5));
  // Where the header has a column 1 that is not the first, 1 could mean three things.
  EXPECT_EQ(read_text("1,a\n5,x\n", keyed({"a"}, "1")), (std::vector{event("x", 5)}));
  EXPECT_NE(input_error([&] { (void)read_text("a,1\nx,5\n", keyed({"a"}, "1")); }), "");
  EXPECT_EQ(read_text("a,1\nx,5\n", keyed({"a"}, "#2")), (std::vector{event("x", 5)}));
}

TEST(Columns, OfSeveralMakeOneKeyThatIsNotAmbiguous) {
  EXPECT_EQ(
      read_text(flows, keyed({"src", "dst"}, "bytes")),
      (std::vector{event("10.0.0.1,10.0.0.2", 100), event("10.0.0.1,10.0.0.3", 2.5), event("::1,\"a,\"\"b\"\"\"", 7)}));
  EXPECT_NE(read_text("\"a,b\",c\n", keyed({"1", "2"})), read_text("a,\"b,c\"\n", keyed({"1", "2"})));
  // The same of numbers.
  EXPECT_EQ(read_text("1;2\n", keyed({"1", "2"})), (std::vector{event("1,2", 1)}));
}

TEST(Columns, NumbersAreIndicesWhereTheyFit) {
  const std::string text = "7\n9223372036854775807\n9223372036854775808\n18446744073709551615\n007\n-7\n7.0\n0\n";
  const std::vector<Event> read = read_text(text, keyed({"1"}));
  EXPECT_EQ(read[0].i, 7U);
  EXPECT_EQ(read[1].i, (std::uint64_t{1} << 63) - 1);
  std::size_t k = 2;
  for (const std::string_view hashed : {"9223372036854775808", "18446744073709551615", "007", "-7", "7.0"}) {
    EXPECT_EQ(read[k].i, TextKeys(seed).hash(hashed)) << hashed;
    ++k;
  }
  EXPECT_EQ(read[7].i, 0U);
  // Where there are fewer indices, nothing is hashed.
  ReadOptions small = keyed({"1"});
  small.shapes = {{Operand::y, 1000, 1}};
  EXPECT_EQ(read_text("999\n", small), (std::vector{Event{Operand::y, 999, 0, 1}}));
  EXPECT_EQ(input_error([&] { (void)read_text("5\n1000\n", small); }),
            "events:2: i = 1000 is too large: y has 1000 entries, counted from 0");
  EXPECT_EQ(
      input_error([&] { (void)read_text("abc\n", small); }),
      "events:1: column 1: the key 'abc' is no whole number, and only y of 2^63 indices has room for hashes of text: "
      "expected a whole number below 1000");
}

TEST(Columns, SignsTakeAway) {
  const std::string text = "op\tkey\tn\n+\ta\t3\n-\ta\t2\nInsert\tb\t1\nremove\tb\t1\n-1\tc\t4\n";
  EXPECT_EQ(read_text(text, keyed({"key"}, "n", "op")),
            (std::vector{event("a", 3), event("a", -2), event("b", 1), event("b", -1), event("c", -4)}));
  EXPECT_EQ(read_text("+\ta\n-\ta\n", keyed({"2"}, "", "1")), (std::vector{event("a", 1), event("a", -1)}));
  EXPECT_EQ(input_error([&] { (void)read_text("+\ta\n0\ta\n", keyed({"2"}, "", "1")); }),
            "events:2: column 1: '0' is no sign: expected + or -, add or remove, insert or delete, or a number");
}

TEST(Columns, SeparatorsAreFoundOrGiven) {
  for (const std::string separator : {",", "\t", ";", "|", " ", "  \t"})
    EXPECT_EQ(read_text(fmt::format("k{0}n\nx{0}5\n", separator), keyed({"1"}, "n")), (std::vector{event("x", 5)}))
        << separator;
  EXPECT_EQ(read_text("k;n\na,b;5\n", keyed({"k"}, "n")), (std::vector{event("a,b", 5)}));
  // A log: blanks, quotes, and more columns in some lines.
  const std::string log =
      "10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a,b?x=\\\"1\\\" HTTP/1.0\" 200 2326\n"
      "10.0.0.2 - bob [10/Oct/2000:13:55:37 -0700] \"GET / HTTP/1.0\" 200 1 \"http://x/\" \"Mozilla (\"\n";
  ReadOptions options = keyed({"1", "3"});
  options.columns.separator = ' ';
  EXPECT_EQ(read_text(log, options), (std::vector{event("10.0.0.1,-", 1), event("10.0.0.2,bob", 1)}));
  options = keyed({"2"}, "#1");
  EXPECT_EQ(read_text("      7 GET\n     12 POST\n", options), (std::vector{event("GET", 7), event("POST", 12)}));
  options = keyed({"1"}, "2");
  options.columns.separator = '^';
  EXPECT_EQ(read_text("a,b^2\n", options), (std::vector{event("a,b", 2)}));
}

TEST(Columns, CommentsAboveTheTable) {
  const std::string zeek =
      "#separator "
      "\\x09\n#set_separator\t,\n#path\tconn\n#fields\tts\tid.orig_h\torig_bytes\n#types\ttime\taddr\tcount\n"
      "1.5\t10.0.0.1\t30\n2.5\t10.0.0.2\t40\n#close\t2024-01-01-00-00-00\n";
  const std::vector<Event> of_zeek{event("10.0.0.1", 30), event("10.0.0.2", 40)};
  EXPECT_EQ(read_text(zeek, keyed({"id.orig_h"}, "orig_bytes")), of_zeek);
  for (const std::uint32_t slices : {2U, 5U})
    EXPECT_EQ(read_slices(zeek, keyed({"id.orig_h"}, "orig_bytes"), slices), of_zeek);
  const std::string w3c = "#Version: 1.0\r\n#Fields: date c-ip bytes\r\n2024-01-01 10.0.0.1 5\r\n";
  EXPECT_EQ(read_text(w3c, keyed({"c-ip"}, "bytes")), (std::vector{event("10.0.0.1", 5)}));
  EXPECT_EQ(read_text("# counts\n\nk,n\n#tag,5\n", keyed({"k"}, "n")), (std::vector{event("#tag", 5)}));
  EXPECT_EQ(read_text("#tag,5\n#other,6\n", keyed({"1"}, "2")), (std::vector{event("#tag", 5), event("#other", 6)}));
}

/// What an attack found: each was read wrong in silence, or refused.
TEST(Columns, TablesAsTheyAre) {
  // pandas writes no name for its index.
  EXPECT_EQ(read_text("\tsrc\tn\n0\ta\t5\n1\tb\t7\n", keyed({"src"}, "n")),
            (std::vector{event("a", 5), event("b", 7)}));
  EXPECT_EQ(read_text("\tx\n\ty\n", keyed({"2"})), (std::vector{event("x", 1), event("y", 1)}));
  // A byte order mark in front of the first key.
  EXPECT_EQ(read_text("\xEF\xBB\xBF"
                      "a,1\na,2\n",
                      keyed({"1"}, "2")),
            (std::vector{event("a", 1), event("a", 2)}));
  // Logs that were put together.
  const std::string zeek =
      "#separator \\x09\n#fields\tts\tid\tn\n#types\ttime\taddr\tcount\n1\tx\t3\n2\ty\t-\n#close\t2020-01-01\n";
  for (const std::string key : {"ts", "id"}) EXPECT_EQ(read_text(zeek + zeek, keyed({key})).size(), 4U) << key;
  EXPECT_EQ(read_text(zeek, keyed({"id"}, "n")), (std::vector{event("x", 3), event("y", 0)}));
  std::string other = zeek;
  other.replace(other.find("\tts\t"), 4, "\tTS\t");
  EXPECT_EQ(input_error([&] { (void)read_text(zeek + other, keyed({"id"})); }),
            "events:8: the log has other columns from here on: expected one kind of lines in a file");
  const std::string csv = "src,n\na,1\n";
  EXPECT_EQ(read_text(csv + csv + "src,no\n", keyed({"src"})),
            (std::vector{event("a", 1), event("a", 1), event("src", 1)}));
  // Names that begin with #, and names that are numbers of other columns.
  EXPECT_EQ(read_text("#CHROM\tPOS\n1\t5\n", keyed({"#CHROM"}, "POS")), (std::vector{event("1", 5)}));
  ReadOptions header = keyed({"1"});
  header.columns.header = HeaderLine::yes;
  EXPECT_EQ(input_error([&] { (void)read_text("a,1\nx,y\n", header); }),
            "events:1: 1 is the name of column 2, and the number of another: expected #2 or #1");
  // Quotes within quotes, as web servers write them; a first line that is bad is one of many.
  const std::string log = "h - - [t z] \"GET /a\\\"b HTTP/1.0\" 200 -\nh - - [t z] \"GET / HTTP/1.0\" 200 7\n";
  ReadOptions blank = keyed({"7"}, "8");
  blank.columns.separator = ' ';
  blank.columns.header = HeaderLine::no;
  EXPECT_EQ(read_text(log, blank), (std::vector{event("200", 0), event("200", 7)}));
  ReadOptions skip = keyed({"4"});
  skip.on_error = OnError::skip;
  EXPECT_EQ(read_text("a,b\na,b,c,d\n", skip), (std::vector{event("d", 1)}));
  // No memory for columns that nobody has; and text of two bytes a character, as spreadsheets write it.
  EXPECT_EQ(input_error([&] { (void)read_text("a,b\n", keyed({"4000000000"})); }),
            "events:1: column 4000000000: expected a number up to 65536");
  const std::string wide(
      "\xFF\xFEk\0,\0n\0\n\0x\0,\0"
      "1\0\n\0",
      22);
  EXPECT_NE(input_error([&] { (void)read_text(wide, keyed({"1"})); }).find("events:1: "), std::string::npos);
  // A header of one letter is not every line that begins so.
  EXPECT_EQ(read_text("k\nkey\nk\nk2\n", keyed({"k"})), (std::vector{event("key", 1), event("k2", 1)}));
  EXPECT_EQ(read_text("k,n,,m\nx,1,,5\ny,,,6\n", keyed({"k"}, "m")), (std::vector{event("x", 5), event("y", 6)}));
  // Guesses are told.
  std::vector<std::string> warnings;
  ReadOptions warn = keyed({"1"}, "2");
  warn.warn = [&](const std::string& what) { warnings.push_back(what); };
  (void)read_text("a,N/A\na,2\n", warn);
  warn.columns.delta.clear();
  (void)read_text("New York\nBoston\n", warn);
  (void)read_text("a,2\n", warn);
  EXPECT_EQ(warnings.size(), 2U);
  EXPECT_TRUE(warnings[0].starts_with("events:1: 'a,N/A' is taken for a header")) << warnings[0];
  EXPECT_TRUE(warnings[1].starts_with("events: columns are taken to stand between blanks")) << warnings[1];
}

TEST(Columns, LinesThatAreBad) {
  const auto error = [](std::string_view text, const ReadOptions& options) {
    return input_error([&] { (void)read_text(text, options); });
  };
  EXPECT_EQ(error("src,dst\na,b\n", keyed({"from"})),
            "events:1: no column is called 'from'; the line has 2 columns between commas: 'src', 'dst'");
  EXPECT_EQ(error("a,b\n", keyed({"3"})), "events:1: the line has 2 columns between commas, and no column 3");
  ReadOptions third = keyed({"3"});
  third.columns.header = HeaderLine::yes;
  EXPECT_EQ(error("a,b\n", third), "events:1: there is no column 3; the line has 2 columns between commas: 'a', 'b'");
  EXPECT_EQ(error("a,a\nx,y\n", keyed({"a"})),
            "events:1: two columns are called 'a': expected the number of one, #1 being the first");
  EXPECT_EQ(error("k,n\nx,5\ny\n", keyed({"k"}, "n")),
            "events:3: the line has 1 column between commas, and no column 2 ('n')");
  EXPECT_EQ(error("k,n\nx,5\n,5\n", keyed({"k"}, "n")), "events:3: column 1 ('k') is empty: expected a key");
  EXPECT_EQ(error("k,n\nx,abc\n", keyed({"k"}, "n")),
            "events:2: 'abc' is not a number: expected the delta in column 2 ('n')");
  EXPECT_EQ(
      error("k,n\n\"x,5\n", keyed({"k"}, "n")),
      "events:2: column 1 begins with a quote and does not end with one: expected a quote before the next separator, "
      "\"\" for a quote inside, and no line break between quotes");
  EXPECT_NE(error("k,n,t\nx,5,\"one\ntwo\",6,\"z\"\n", keyed({"k"}, "n")), "");
  EXPECT_NE(error("k,n\nx,nan\n", keyed({"k"}, "n")), "");
  EXPECT_EQ(error("k,n\n", keyed({"k"})), "events: contains no events");
  EXPECT_EQ(error("", keyed({"k"})), "events: contains no events");
  ReadOptions no_header = keyed({"k"});
  no_header.columns.header = HeaderLine::no;
  EXPECT_EQ(error("k\nx\n", no_header),
            "events:1: without a header columns have no names: expected numbers, the first being 1");
  EXPECT_EQ(error("%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 1\n", keyed({"1"})),
            "events: is Matrix Market data, which says itself what its entries are: expected lines of text or JSON for "
            "--key");
  // Skipped, they are counted.
  ReadOptions skip = keyed({"k"}, "n");
  skip.on_error = OnError::skip;
  const std::string text = "k,n\nx,abc\ny,2\n";
  EventReader reader(as_bytes(text), "events", skip);
  EXPECT_EQ(drain(reader), (std::vector{event("y", 2)}));
  EXPECT_EQ(reader.skipped(), 1U);
  EXPECT_EQ(reader.first_skipped(), "events:2: 'abc' is not a number: expected the delta in column 2 ('n')");
}

TEST(Columns, OfMatricesAreRowAndColumn) {
  ReadOptions options = keyed({"user", "item"}, "n");
  options.default_operand = Operand::A;
  options.shapes = {{Operand::A, std::uint64_t{1} << 63, 10}};
  EXPECT_EQ(read_text("item,user,n\n3,ann,2\n", options),
            (std::vector{Event{Operand::A, key_of_text(seed, "ann"), 3, 2}}));
  EXPECT_NE(input_error([&] { (void)read_text("item,user,n\n10,ann,2\n", options); }), "");
  options.columns.key = {"user"};
  EXPECT_THROW((void)read_text("item,user,n\n3,ann,2\n", options), UsageError);
}

TEST(JsonLines, MembersAreFoundByPath) {
  const std::string text = R"({"user":{"id":"ann","age":3},"n":2,"tags":["x",{"y":"deep"}]})"
                           "\n"
                           R"({"n":-1.5,"other":{"user":{"id":"no"}},"user":{"id":12},"tags":["z",{"y":true}]})"
                           "\n";
  EXPECT_EQ(read_text(text, keyed({"user.id"}, "n")), (std::vector{event("ann", 2), event("12", -1.5)}));
  EXPECT_EQ(read_text(text, keyed({"tags.1.y"})), (std::vector{event("deep", 1), event("true", 1)}));
  EXPECT_EQ(read_text(text, keyed({"tags.0", "user.id"})), (std::vector{event("x,ann", 1), event("z,12", 1)}));
  EXPECT_EQ(read_text("{\"k\":\"\\u00e9\\n\"}\n", keyed({"k"})), (std::vector{event("\xC3\xA9\n", 1)}));
  EXPECT_EQ(read_text("{\"k\":18446744073709551616,\"n\":\"3\"}\n", keyed({"k"}, "n")),
            (std::vector{event("18446744073709551616", 3)}));
  EXPECT_EQ(read_text("{\"id.orig_h\":\"x\",\"a\":{\"b.c\":{\"d\":2}}}\n", keyed({"id.orig_h"}, "a.b.c.d")),
            (std::vector{event("x", 2)}));
  const auto error = [&](std::string_view bad) {
    return input_error([&] { (void)read_text(std::string(text) + std::string(bad), keyed({"user.id"}, "n")); });
  };
  EXPECT_EQ(error("{\"user\":{\"id\":null},\"n\":1}\n"),
            "events:3: the object has no member 'user.id' that is text or a number");
  EXPECT_EQ(error("{\"user\":{\"id\":{\"x\":1}},\"n\":1}\n"),
            "events:3: the object has no member 'user.id' that is text or a number");
  EXPECT_EQ(error("{\"user\":\"x\",\"n\":1}\n"),
            "events:3: the object has no member 'user.id' that is text or a number");
  EXPECT_EQ(error("{\"user\":{\"id\":\"x\"}}\n"), "events:3: the object has no member 'n' that is text or a number");
  EXPECT_TRUE(error("{\"user\":{\"id\":\"x\"\n").starts_with("events:3: '{\"user\":{\"id\":\"x\"' is no JSON object: "))
      << error("{\"user\":{\"id\":\"x\"\n");
  EXPECT_TRUE(error("x,y\n").starts_with("events:3: 'x,y' is no JSON object"));
  EXPECT_TRUE(error(std::string(100000, '[') + "\n").starts_with("events:3: "));
  EXPECT_EQ(input_error([&] { (void)read_text("[{\"k\":1},\n{\"k\":2}]\n", keyed({"k"})); }),
            "events:1: an array of JSON: expected an object in each line, as jq -c '.[]' FILE makes them");
}

/// A table of many lines of all kinds, and the sums that an independent reading of its fields gives.
struct Table {
  std::string text;
  std::map<std::uint64_t, double> sums;
};
Table random_table(std::uint64_t number, char separator, bool header) {
  std::mt19937_64 random(number);
  Table table;
  if (header) table.text = fmt::format("time{0}key{0}n\n", separator);
  for (int line = 0; line < 3000; ++line) {
    const std::uint64_t kind = random() % 8;
    std::string key = fmt::format("k{}", random() % 50);
    if (kind == 0) key = fmt::to_string(random() % 50);
    if (kind == 1) key += fmt::format("{}\"x", separator);
    if (kind == 2) key = std::string(1 + random() % 40, static_cast<char>('a' + random() % 26));
    const double delta = static_cast<double>(random() % 2000) / 8 - 100;
    std::string field = key;
    if (kind == 1 || random() % 10 == 0) {
      field = "\"";
      for (const char c : key) field += c == '"' ? "\"\"" : std::string(1, c);
      field += '"';
    }
    table.text +=
        fmt::format("{}{}{}{}{}{}{}{}", line, separator, random() % 9 == 0 ? " " : "", field, separator, delta,
                    random() % 5 == 0 ? fmt::format("{}more", separator) : "", random() % 7 == 0 ? "\r\n" : "\n");
    table.sums[key_of_text(seed, key)] += delta;
  }
  return table;
}

std::map<std::uint64_t, double> sums_of(const std::vector<Event>& events) {
  std::map<std::uint64_t, double> sums;
  for (const Event& each : events) sums[each.i] += each.delta;
  return sums;
}

TEST(Columns, AnySliceCountReadsTheSameTable) {
  for (const char separator : {',', '\t', ';'}) {
    const Table table = random_table(static_cast<std::uint64_t>(separator), separator, true);
    const ReadOptions options = keyed({"key"}, "n");
    const std::vector<Event> whole = read_text(table.text, options);
    EXPECT_EQ(sums_of(whole), table.sums);
    for (const std::uint32_t slices : {2U, 3U, 4U, 7U}) EXPECT_EQ(read_slices(table.text, options, slices), whole);
  }
}

TEST(Columns, StreamsThatArriveInPieces) {
  const Table table = random_table(5, ',', true);
  const ReadOptions options = keyed({"key"}, "n");
  const stream::TextRuns runs(options);
  std::mt19937_64 random(6);
  for (const std::size_t longest : {1U, 3U, 50U, 4000U}) {
    stream::ArrivingStream arriving("tcp", options, runs);
    std::vector<EventBatch> batches;
    for (std::size_t at = 0; at < table.text.size();) {
      const std::size_t count = 1 + random() % longest;
      arriving.take(std::string_view(table.text).substr(at, count), batches);
      at += count;
    }
    arriving.finish(batches);
    EXPECT_EQ(arriving.skipped(), 0U) << arriving.first_skipped();
    std::vector<Event> events;
    for (const EventBatch& batch : batches)
      for (std::size_t t = 0; t < batch.size(); ++t) events.push_back(batch[t]);
    EXPECT_EQ(sums_of(events), table.sums);
  }
  // A table without the column is over.
  stream::ArrivingStream arriving("tcp", keyed({"other"}), runs);
  std::vector<EventBatch> batches;
  arriving.take(table.text, batches);
  EXPECT_TRUE(arriving.is_over());
  EXPECT_EQ(arriving.first_bad(),
            "tcp:1: no column is called 'other'; the line has 3 columns between commas: 'time', 'key', 'n'");
}

TEST(Columns, MessagesHaveNoHeader) {
  stream::MessageEvents events(keyed({"1"}, "2"));
  EventBatch batch;
  const std::string text = "a,1\nb,2\n", json = "{\"1\":\"c\",\"2\":5}";
  events.open(as_bytes(text), "message");
  EXPECT_EQ(events.append_to(batch, 100), 2U);
  events.open(as_bytes(json), "message");
  EXPECT_EQ(events.append_to(batch, 100), 1U);
  EXPECT_EQ(batch[0], event("a", 1));
  EXPECT_EQ(batch[2], event("c", 5));
  stream::MessageEvents named(keyed({"key"}));
  EXPECT_NE(input_error([&] { named.open(as_bytes(text), "message"); }), "");
  ReadOptions with_header = keyed({"1"});
  with_header.columns.header = HeaderLine::yes;
  EXPECT_THROW(stream::MessageEvents{with_header}, UsageError);
}

TEST(Columns, FilesThatGrow) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log.csv", "# written by x\nkey,n\na,1\n");
  const ReadOptions options = keyed({"key"}, "n");
  std::vector<Event> events;
  EventBatch batch;
  const auto read = [&](LiveSource& source, std::size_t wanted) {
    for (int k = 0; k < 200 && events.size() < wanted; ++k) {
      ASSERT_TRUE(source.next(batch, 100, std::chrono::milliseconds(20)));
      for (std::size_t t = 0; t < batch.size(); ++t) events.push_back(batch[t]);
    }
  };
  std::string position;
  {
    const auto source = open_live_source(path, options, true);
    read(*source, 1);
    position = source->position();
  }
  // Whoever goes on finds the header at the beginning.
  directory.write("log.csv", "# written by x\nkey,n\na,1\nb,2\n");
  const auto source = open_live_source(path, options, true, position);
  read(*source, 2);
  EXPECT_EQ(events, (std::vector{event("a", 1), event("b", 2)}));
}

TEST(KeyNames, AreThoseOfTheHeaviest) {
  // Keys of weights 1, 2, ..., as often as that; the table has room for 64 of 2000.
  std::string text = "key,n\n";
  std::mt19937_64 random(3);
  std::vector<int> lines;
  for (int k = 1; k <= 2000; ++k)
    for (int t = 0; t < (k > 1990 ? 3000 : 2); ++t) lines.push_back(k);
  std::ranges::shuffle(lines, random);
  for (const int k : lines) text += fmt::format("user-{},{}\n", k, k % 2 == 0 ? 1 : -1);
  const auto table_of = [&](std::uint32_t slices) {
    NameTable table(64);
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      ReadOptions options = keyed({"key"}, "n");
      options.slice = slice;
      options.slice_count = slices;
      options.names = std::make_shared<NameSink>(64);
      EventReader reader(as_bytes(text), "events", options);
      EventBatch batch;
      std::size_t read = 0;
      while (reader.next(batch))
        if (++read % 3 == 0) table.merge(options.names->take());
      table.merge(options.names->take());
    }
    return table;
  };
  const NameTable table = table_of(1);
  EXPECT_EQ(table.entries().size(), 64U);
  for (int k = 1991; k <= 2000; ++k) {
    const std::string name = fmt::format("user-{}", k);
    const std::string* const found = table.find(key_of_text(seed, name));
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(*found, name);
  }
  // A function of the events alone.
  for (const std::uint32_t slices : {2U, 3U, 4U}) EXPECT_EQ(table_of(slices), table);
}

TEST(KeyNames, OfGivenIndices) {
  std::string text;
  for (int k = 0; k < 5000; ++k) text += fmt::format("user-{},7\n", k % 500);
  std::vector<std::uint64_t> wanted;
  for (int k = 0; k < 100; ++k) wanted.push_back(key_of_text(seed, fmt::format("user-{}", 3 * k)));
  wanted.push_back(12345);  // a key that does not come
  ReadOptions options = keyed({"1"});
  options.names = std::make_shared<NameSink>(wanted);
  (void)read_text(text, options);
  NameTable table(most_names);
  table.merge(options.names->take());
  EXPECT_EQ(table.entries().size(), 100U);
  for (int k = 0; k < 100; ++k) {
    const std::string* const found = table.find(wanted[static_cast<std::size_t>(k)]);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(*found, fmt::format("user-{}", 3 * k));
  }
}

}  // namespace
}  // namespace weir

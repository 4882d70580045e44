#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

ReadOptions into_matrix(Edges edges) { return {.default_operand = Operand::A, .edges = edges}; }
Event entry(std::uint64_t i, std::uint64_t j, double value) { return {Operand::A, i, j, value}; }
Event of_y(std::uint64_t i, double value) { return {Operand::y, i, 0, value}; }

// As SNAP and KONECT write them: the former in tabs, the latter in blanks, also behind the last field.
const std::string snap =
    "# Directed graph (each unordered pair of nodes is saved once): web.txt \n# Web\n# Nodes: 5 Edges: 3\r\n"
    "# FromNodeId\tToNodeId\n0\t11342\r\n0\t3\n3\t3\n";
const std::string konect = "% asym positive\n% 3 6 5\n1 5 2 \n6   2\t-1.5\n2 2 1e1\n";

TEST(Edges, OfSnapAndKonect) {
  EXPECT_EQ(read_text(snap, into_matrix(Edges::out)),
            (std::vector{entry(0, 11342, 1), entry(0, 3, 1), entry(3, 3, 1)}));
  EXPECT_EQ(read_text(snap, into_matrix(Edges::in)), (std::vector{entry(11342, 0, 1), entry(3, 0, 1), entry(3, 3, 1)}));
  EXPECT_EQ(read_text(snap, into_matrix(Edges::both)),
            (std::vector{entry(0, 11342, 1), entry(11342, 0, 1), entry(0, 3, 1), entry(3, 0, 1), entry(3, 3, 1)}));
  EXPECT_EQ(read_text("% asym positive\n1 5 2 \n6\t2\t-1.5\n2, 2 ,1e1\n", into_matrix(Edges::out)),
            (std::vector{entry(1, 5, 2), entry(6, 2, -1.5), entry(2, 2, 10)}));
}

TEST(Edges, CountDegreesOfVectors) {
  EXPECT_EQ(read_text(snap, {.edges = Edges::out}), (std::vector{of_y(0, 1), of_y(0, 1), of_y(3, 1)}));
  EXPECT_EQ(read_text(snap, {.edges = Edges::in}), (std::vector{of_y(11342, 1), of_y(3, 1), of_y(3, 1)}));
  // A loop has two ends.
  EXPECT_EQ(read_text(snap, {.edges = Edges::both}),
            (std::vector{of_y(0, 1), of_y(11342, 1), of_y(0, 1), of_y(3, 1), of_y(3, 1), of_y(3, 1)}));
  EXPECT_EQ(read_text("7,8,2\n", {.edges = Edges::both}), (std::vector{of_y(7, 2), of_y(8, 2)}));
  EXPECT_EQ(read_text("7 8\n", {.edges = Edges::none}), (std::vector{of_y(7, 8)}));
}

/// Two whole numbers may be an event or an edge.
TEST(Edges, ThatMayBeEventsAreNotReadInSilence) {
  std::vector<std::string> warnings;
  ReadOptions options{.warn = [&](const std::string& what) { warnings.push_back(what); }};
  EXPECT_EQ(read_text("# counts\n7,2\n8 -1\n9 0.5\n7\t2\n8 3\n", options),
            (std::vector{of_y(7, 2), of_y(8, -1), of_y(9, 0.5), of_y(7, 2), of_y(8, 3)}));
  EXPECT_EQ(warnings,
            (std::vector<std::string>{
                "events: '7\\x092' and lines like it are taken for events i,delta; --edges out|in|both reads them as "
                "edges of a graph, and --edges none says that they are events"}));
  warnings.clear();
  for (const std::string text : {"7,2\n8,3\n", "7 -2\n", "7\t0.5\n", "y 7 2\n", "7 2,\n"})
    (void)input_error([&] { (void)read_text(text, options); });
  options.edges = Edges::none;
  EXPECT_EQ(read_text("7 2\n", options), (std::vector{of_y(7, 2)}));
  EXPECT_EQ(warnings, std::vector<std::string>());
  // One party warns.
  options.edges = Edges::unsaid;
  (void)read_slices("7 2\n7 3\n7 4\n7 5\n", options, 3);
  EXPECT_EQ(warnings.size(), 1u);
}

TEST(Edges, OfTwoSidesAreNotAddedUp) {
  const std::string text = "% bip unweighted\n% 3 2 3\n1 1\n1 2\n2 1\n";
  for (const auto& options : {ReadOptions{.edges = Edges::both}, into_matrix(Edges::both)})
    EXPECT_NE(input_error([&] { (void)read_text(text, options); }).find("the graph is bipartite"), std::string::npos);
  EXPECT_EQ(read_text(text, {.edges = Edges::in}), (std::vector{of_y(1, 1), of_y(2, 1), of_y(1, 1)}));
}

TEST(Edges, BelowCommentsOfGraphsAreRefused) {
  for (const std::string& text : {snap, std::string("% sym unweighted\n1 2\n")}) {
    EXPECT_NE(input_error([&] { (void)read_text(text); }).find("the comments of the file tell of a graph, and '"),
              std::string::npos);
    // Every party knows.
    ReadOptions skip{.on_error = OnError::skip};
    EXPECT_EQ(read_slices(text, skip, 3), std::vector<Event>());
    EXPECT_FALSE(read_text(text, {.edges = Edges::none}).empty());
  }
  EXPECT_EQ(read_text("# Nodes: 5\n1,2\n3 -1\n"), (std::vector{of_y(1, 2), of_y(3, -1)}));
}

TEST(Edges, StandAmongEventsThatNameTheirOperand) {
  const Delivered found = deliver("1 2\nx,3,4\nA,5,*,6,7\nA 8 9 0.5\n", into_matrix(Edges::both));
  EXPECT_EQ(found.entries,
            (std::vector<Event>{entry(1, 2, 1), entry(2, 1, 1), {Operand::x, 3, 0, 4}, entry(8, 9, 0.5)}));
  EXPECT_EQ(found.rows.values, (std::vector<double>{6, 7}));
}

TEST(Edges, BadLinesAreNamed) {
  ReadOptions shaped = into_matrix(Edges::out);
  shaped.shapes = {{Operand::A, 10, 5}};
  const std::string from = "events:2: ";
  for (const auto& [bad, reason] : std::vector<std::pair<std::string, std::string>>{
           {"1", "missing field: found 1, expected 2 or 3 as in the edges i,j and i,j,weight"},
           {"1 2 3 4", "extra field: found 4, expected 2 or 3 as in the edges i,j and i,j,weight"},
           {"1 a", "'a' is not an index: expected a whole number for j"},
           {"-1 2", "i = '-1' is negative: indices count from 0"},
           {"1 2 x", "'x' is not a number: expected the weight"},
           {"1 2 nan", "the weight = 'nan' is not finite"},
           {"10 1", "i = 10 is too large: A is 10 x 5, counted from 0"},
           {"1 5", "j = 5 is too large: A is 10 x 5, counted from 0"},
           {"1;2", "'1;2' has semicolons: expected commas, tabs or blanks between fields, and points in numbers"},
           {"x 1 2", "x is not an operand of this model, which takes A"},
       }) {
    const std::string line = bad;
    EXPECT_EQ(input_error([&] { (void)read_text("1 2\n" + line + "\n", shaped); }), from + reason) << line;
    ReadOptions skip = shaped;
    skip.on_error = OnError::skip;
    const std::string text = "1 2\n" + line + "\n3 4\n";
    EventReader reader(as_bytes(text), "events", skip);
    EXPECT_EQ(drain(reader), (std::vector{entry(1, 2, 1), entry(3, 4, 1)})) << line;
    EXPECT_EQ(reader.skipped(), 1u);
  }
  shaped.edges = Edges::in;
  EXPECT_EQ(input_error([&] { (void)read_text("1 2\n5 1\n", shaped); }),
            from + "j = 5 is too large: A is 10 x 5, counted from 0");
  shaped.edges = Edges::both;
  for (const char* line : {"7 2", "2 7"})
    EXPECT_EQ(input_error([&] { (void)read_text(fmt::format("1 2\n{}\n", line), shaped); }),
              from + "j = 7 is too large: A is 10 x 5, counted from 0");
  EXPECT_EQ(input_error([&] {
              (void)read_text("1 2\n2 9\n", {.shapes = {{Operand::y, 5, 1}}, .edges = Edges::both});
            }),
            from + "i = 9 is too large: y has 5 entries, counted from 0");
}

/// KONECT states the largest nodes; SNAP how many there are, which have any numbers.
TEST(Edges, NodesBeyondThoseOfKonectAreBad) {
  const std::string comments = "% asym unweighted\n% 3 6 5\n";
  const std::string
      left = "events:4: i = 7 is too large: the comments of the file state 6 nodes on the left of its edges",
      right = "events:4: j = 6 is too large: the comments of the file state 5 nodes on the right of its edges";
  for (const Edges edges : {Edges::out, Edges::in, Edges::both}) {
    for (ReadOptions options : {ReadOptions{.edges = edges}, into_matrix(edges)}) {
      EXPECT_FALSE(read_text(comments + "6 5\n0 0\n", options).empty());
      EXPECT_EQ(input_error([&] { (void)read_text(comments + "6 5\n7 5\n", options); }), left);
      EXPECT_EQ(input_error([&] { (void)read_text(comments + "6 5\n6 6 2\n", options); }), right);
      options.on_error = OnError::skip;
      const std::string text = comments + "6 5\n6 6\n1\t6\n7,1\n0 0\n";
      EXPECT_EQ(read_slices(text, options, 3), read_text(comments + "6 5\n0 0\n", options));
      EXPECT_FALSE(read_text("# Nodes: 5\n6 700\n", options).empty());
      EXPECT_FALSE(read_text("% 3 6 5\n7 6\n", options).empty());  // of something else
    }
  }
}

TEST(Edges, ShapesThatCommentsState) {
  const TemporaryDirectory directory;
  using Shape = std::optional<std::array<std::uint64_t, 2>>;
  const auto shape = [&](const std::string& text, Edges edges) {
    return stated_shape(directory.write("g.txt", text), edges);
  };
  EXPECT_EQ(shape(snap, Edges::out), (Shape{{5, 5}}));
  EXPECT_EQ(shape(snap, Edges::none), std::nullopt);
  EXPECT_EQ(shape(snap, Edges::unsaid), std::nullopt);
  // Six nodes on the left, five on the right, which count from 1.
  EXPECT_EQ(shape(konect, Edges::out), (Shape{{7, 6}}));
  EXPECT_EQ(shape(konect, Edges::in), (Shape{{6, 7}}));
  EXPECT_EQ(shape(konect, Edges::both), (Shape{{7, 7}}));
  EXPECT_EQ(shape("% sym unweighted\n% 3 6\n1 2\n", Edges::out), (Shape{{7, 7}}));
  EXPECT_EQ(stated_shape(directory.write("g.gz", gzip(konect)), Edges::out), (Shape{{7, 6}}));
  for (const std::string text :
       {"1 2\n% 3 6 5\n", "% 3\n1 2\n", "% 3 6 5 7\n1 2\n", "% 3 -6\n1 2\n", "# Nodes:\n1 2\n", "# Nodes: many\n1 2\n"})
    EXPECT_EQ(shape(text, Edges::out), std::nullopt) << text;
  for (const auto& [text, number] : std::vector<std::array<std::string, 2>>{
           {"# Nodes: 99999999999999999999\n1 2\n", "'99999999999999999999'"},
           {"# Nodes: 9223372036854775808 Edges: 1\n1 2\n", "'9223372036854775808'"},
           {"# Nodes: 0\n1 2\n", "'0'"},
           {"% sym unweighted\n% 1 3 99999999999999999999\n1 2\n", "'99999999999999999999'"},
           {"% sym unweighted\n% 1 0 3\n1 2\n", "'0'"}}) {
    const std::string whole = text;
    EXPECT_EQ(
        input_error([&] { (void)shape(whole, Edges::out); }),
        directory / "g.txt" + ": its comments state " + number + " nodes: expected a whole number from 1 to 2^63 - 1");
  }
}

RC_GTEST_PROP(Edges, SlicesPartitionThem, ()) {
  std::string text = snap;
  const auto lines = *rc::gen::inRange(1, 50);
  for (int t = 0; t < lines; ++t)
    text += fmt::format("{}{}{}{}\n", *rc::gen::inRange(0, 99), *rc::gen::element<std::string>(" ", "\t", ",", "  "),
                        *rc::gen::inRange(0, 99), *rc::gen::element<std::string>("", " ", "\r"));
  ReadOptions options{.default_operand = *rc::gen::element(Operand::A, Operand::y),
                      .edges = *rc::gen::element(Edges::out, Edges::in, Edges::both)};
  options.batch = *rc::gen::inRange<std::size_t>(1, 20);
  const auto expected = read_text(text, options);
  for (std::uint32_t slices = 2; slices <= 5; ++slices) RC_ASSERT(read_slices(text, options, slices) == expected);
}

}  // namespace
}  // namespace weir

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Comments before the first edge are looked at up to here.
inline constexpr std::size_t edge_header_limit = std::size_t{1} << 16;
/// Rows and columns of the matrix that `edges` makes of a list of edges which begins with `text`, as its comments state them:
/// "# Nodes: N Edges: M" (SNAP) or a line "% M N1 N2" (KONECT). None where they do not. Throws InputError naming the file
/// `name` where no file has so many nodes.
[[nodiscard]] std::optional<std::array<std::uint64_t, 2>> shape_of_edges(std::string_view text, Edges edges,
                                                                         const std::string& name);
/// The largest nodes on the left and on the right of an edge, where the comments are those of KONECT and state them. (What
/// SNAP states is how many nodes there are, of which some may have larger numbers.) Throws InputError as shape_of_edges().
[[nodiscard]] std::optional<std::array<std::uint64_t, 2>> largest_nodes(std::string_view text, const std::string& name);
/// Whether they say that the nodes on either side of an edge count apart (KONECT's "% bip").
[[nodiscard]] bool tells_of_two_sides(std::string_view text);
/// Whether the comments before the first line of a text tell of a graph, as those of SNAP and KONECT do.
[[nodiscard]] bool tells_of_graph(std::string_view text);

}  // namespace weir::stream

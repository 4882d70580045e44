#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "attend_report.hpp"
#include "report.hpp"

// The pictures of --plot. They are made of the same reports as JSON and the tables.

namespace weir::app {

/// Entries that a chart shows at most; a note says how many there were.
inline constexpr std::size_t most_plotted = 40;

/// An SVG document: the distinct draws with their probabilities and values, the most probable ones first. Where nothing was
/// drawn it says why.
[[nodiscard]] std::string to_svg(const SampleReport& report);
/// A chart for each kind of question that was asked.
[[nodiscard]] std::string to_svg(const QueryReport& report);
/// The errors of the queries, estimated and true ones, and those of the peers. Some hundred queries are shown at most.
[[nodiscard]] std::string to_svg(const AttendReport& report);

/// `text` with an ellipsis in its middle where it has more than `most` characters (3 or more). UTF-8 stays UTF-8.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t most);

/// Writes the picture; the file appears when it is complete. Throws InputError naming the path.
void write_plot(const std::string& path, const std::string& svg);

}  // namespace weir::app

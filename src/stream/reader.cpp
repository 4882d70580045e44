#include "weir/stream/reader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "decoder.hpp"
#include "edge_list.hpp"
#include "io/compression.hpp"
#include "io/input.hpp"
#include "io/matrix_market_lines.hpp"
#include "io/npy_dictionary.hpp"
#include "io/pick.hpp"
#include "line_buffer.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/matrix_market.hpp"
#include "weir/io/npy.hpp"
#include "weir/stream/binary.hpp"

namespace weir {

namespace {

/// Bytes that tell the formats apart; the banner of a Matrix Market file may come later.
constexpr std::size_t magic_length = 16;

/// Throws InputError for a compression that is not read.
StreamFormat format_of(Input& input) {
  // After its first short line a writer may be silent for long. What begins as no other format does is text.
  constexpr std::string_view first_bytes = "\x1F\x89\x93(\xFD]\x04\x02\xFFLBP";
  std::string_view head = input.peek(1);
  if (!input.is_live() || head.empty() || first_bytes.find(head[0]) != std::string_view::npos)
    head = input.peek(magic_length);
  while (may_become_matrix_market(head)) {
    const std::size_t known = head.size();
    head = input.peek(input.is_live() ? known + 1 : matrix_market_banner_start);
    if (head.size() == known) break;
  }
  const StreamFormat format = stream::format_of_head(head);
  if (format == StreamFormat::compressed) refuse_compression(input.name(), *compression_of(head));
  return format;
}

/// Returns what stat() says of it.
struct stat require_readable(const std::string& path) {
  struct stat status {};
  int error = 0;
  const std::string file = file_of(path);
  if (::stat(file.c_str(), &status) != 0) {
    error = errno;
  } else if (S_ISDIR(status.st_mode)) {
    error = EISDIR;
  } else if (::faccessat(AT_FDCWD, file.c_str(), R_OK, AT_EACCESS) != 0) {
    error = errno;
  }
  if (error != 0) throw InputError(fmt::format("{}: cannot open: {}", path, std::strerror(error)));
  return status;
}

std::uint64_t fingerprint_of(const InputFile& file) {
  constexpr std::uint64_t end_length = 4096;
  std::array<std::byte, 2 * end_length> ends;
  const auto length = static_cast<std::size_t>(std::min(file.size(), end_length));
  file.read_exactly_at(0, std::span(ends).first(length));
  file.read_exactly_at(file.size() - length, std::span(ends).subspan(length, length));
  return XXH3_64bits(ends.data(), 2 * length);
}

/// Throws unless `found` is what `agreed` was.
void require_same(const SourceInfo& found, const SourceInfo& agreed) {
  constexpr std::string_view remedy =
      "the file changed while it was being opened, or the name means different files; give a file that nobody writes "
      "to";
  if (found.pipe != agreed.pipe) {
    const auto kind = [](const SourceInfo& info) { return info.pipe ? "a pipe" : "a file"; };
    throw InputError(
        fmt::format("{}: {} here, {} where it was looked at first", found.path, kind(found), kind(agreed)));
  }
  if (found.size != agreed.size) {
    throw InputError(fmt::format("{}: {} bytes here, {} where it was looked at first: {}", found.path, found.size,
                                 agreed.size, remedy));
  }
  if (found.fingerprint != agreed.fingerprint) {
    throw InputError(fmt::format(
        "{}: the {} bytes here are not those where it was looked at first (fingerprints {:016x}, {:016x}): {}",
        found.path, found.size, found.fingerprint, agreed.fingerprint, remedy));
  }
}

/// What is in a file, decompressed.
std::unique_ptr<Input> open_content(const std::string& path) {
  require_readable(path);
  return content_of(open_input(path));
}

}  // namespace

StreamFormat stream::format_of_head(std::string_view head) noexcept {
  if (const Compression* compression = compression_of(head)) {
    return compression->kind == CompressionKind::gzip                 ? StreamFormat::gzip
           : compression->kind == CompressionKind::zstd && reads_zstd ? StreamFormat::zstd
                                                                      : StreamFormat::compressed;
  }
  if (resembles(head, binary_magic, 5)) return StreamFormat::binary;
  if (resembles(head, npy_magic, 4)) return StreamFormat::npy;
  return looks_like_matrix_market(head) ? StreamFormat::matrix_market : StreamFormat::text;
}

std::string_view to_string(StreamFormat format) noexcept {
  switch (format) {
    case StreamFormat::text:
      return "text";
    case StreamFormat::binary:
      return "binary";
    case StreamFormat::matrix_market:
      return "Matrix Market";
    case StreamFormat::npy:
      return ".npy";
    case StreamFormat::zstd:
      return "zstd";
    case StreamFormat::compressed:
      return "compressed";
    case StreamFormat::gzip:
      break;
  }
  return "gzip";
}

StreamFormat stream_format(const std::string& path) {
  require_readable(path);
  const std::unique_ptr<Input> input = open_input(path);
  // A member of an archive that is deflated.
  return input->size() || is_pipe(path) ? format_of(*input) : StreamFormat::compressed;
}

StreamFormat content_format(const std::string& path) { return format_of(*open_content(path)); }

std::optional<std::array<std::uint64_t, 2>> stated_shape(const std::string& path, Edges edges) {
  const std::unique_ptr<Input> input = open_content(path);
  const StreamFormat format = format_of(*input);
  if (format == StreamFormat::npy) {
    const NpyHeader header = stream::read_npy_header(*input);
    require_data(header, *input);
    return std::array{header.rows, header.columns};
  }
  if (format == StreamFormat::matrix_market) {
    const MatrixMarketHeader header =
        parse_matrix_market_header(input->peek(matrix_market_header_limit), input->name());
    if (const auto most = input->most())
      MatrixMarketLines::require_data(header, input->name(), *most - header.data_offset);
    return std::array{header.rows, header.columns};
  }
  if (format == StreamFormat::text && edges != Edges::unsaid && edges != Edges::none)
    return stream::shape_of_edges(input->peek(stream::edge_header_limit), edges, input->name());
  return std::nullopt;
}

bool is_pipe(const std::string& path) noexcept {
  struct stat status {};
  return path == "-" || (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode));
}

SourceInfo look_at(const std::string& path) {
  SourceInfo info{.path = path, .pipe = true};
  if (path == "-") {
    require_standard_input();
    return info;
  }
  struct stat status = require_readable(path);
  if (S_ISREG(status.st_mode)) {
    const InputFile file(file_of(path));
    if (::fstat(file.descriptor(), &status) != 0)
      throw InputError(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
    info.size = file.size();
    info.fingerprint = fingerprint_of(file);
    info.pipe = false;
  }
  info.device = status.st_dev;
  info.inode = status.st_ino;
  return info;
}

struct EventReader::Implementation {
  Implementation(std::vector<std::string> names, ReadOptions read_options)
      : paths(std::move(names)), options(std::move(read_options)), limits(options) {
    if (options.slice_count == 0 || options.slice >= options.slice_count) {
      throw UsageError(fmt::format("slice {} of {} does not exist", options.slice, options.slice_count));
    }
    if (options.batch == 0) throw UsageError("a batch must hold at least one event");
    if (options.ranges) {
      if (options.ranges->size() != paths.size())
        throw UsageError(fmt::format("{} lists of ranges belong to {} files", options.ranges->size(), paths.size()));
      for (std::size_t file = 0; file < paths.size(); ++file) {
        try {
          (*options.ranges)[file] = stream::in_order(std::move((*options.ranges)[file]));
        } catch (const InputError& error) {
          throw InputError(fmt::format("{}: {}", paths[file], error.what()));
        }
      }
    }
    known_unread.resize(paths.size());
  }

  /// The part of file number `file` that is this party's, if the file can be cut.
  stream::Part part_of(std::size_t file) const {
    stream::Part part{.name = paths[file], .slice = options.slice, .slice_count = options.slice_count};
    if (options.ranges) part.ranges = (*options.ranges)[file];
    return part;
  }

  /// A decoder for this party's share of file number `file`; null when it has none.
  std::unique_ptr<stream::Decoder> open(std::size_t file) const {
    const std::string& path = paths[file];
    if (options.ranges && (*options.ranges)[file].empty()) return nullptr;
    const bool others = path != "-" && file % options.slice_count != options.slice;
    if (others && !memory && is_pipe(path)) return nullptr;
    std::unique_ptr<Input> input =
        memory ? memory_input(*memory, path)
               : open_input(path, options.stop, identities.empty() ? std::nullopt : identities[file]);
    // A deflated member of an archive cannot be cut either.
    if (others && !input->size()) return nullptr;
    StreamFormat format = format_of(*input);
    if (format == StreamFormat::gzip || format == StreamFormat::zstd) {
      if (others) return nullptr;
      input = content_of(std::move(input));
      format = format_of(*input);
    }
    if (format == StreamFormat::matrix_market && input->size() && stream::is_matrix_market_array(*input)) {
      if (others) return nullptr;
      input = uncut(std::move(input));
    }
    if (options.columns.any() && format != StreamFormat::text)
      throw InputError(fmt::format(
          "{}: is {} data, which says itself what its entries are: expected lines of text or JSON for --key", path,
          to_string(format)));
    stream::Part part = part_of(file);
    if (!input->size()) {
      // It cannot be cut, and is whole this party's.
      part.slice = 0;
      part.slice_count = 1;
    }
    if (format == StreamFormat::binary)
      return stream::binary_decoder(std::move(input), options, limits, std::move(part));
    if (format == StreamFormat::npy) return stream::npy_decoder(std::move(input), options, limits, std::move(part));
    if (format == StreamFormat::matrix_market)
      return stream::matrix_market_decoder(std::move(input), options, limits, std::move(part));
    return stream::text_decoder(std::move(input), options, limits, std::move(part));
  }

  /// As open(), and null for a file without events that may be one.
  std::unique_ptr<stream::Decoder> open_or_pass(std::size_t file) const {
    try {
      return open(file);
    } catch (const stream::NoEvents&) {
      if (!has_events_elsewhere(file)) throw;
    }
    return nullptr;
  }

  /// Whether there is an event, good or bad, in another file than `file`, which has none: one part of many may be empty, but
  /// not all of them. A pipe is not looked into, and may have some.
  bool has_events_elsewhere(std::size_t file) const {
    if (memory) return false;
    for (std::size_t other = 0; other < paths.size(); ++other) {
      if (other == file) continue;
      if (is_pipe(paths[other])) return true;
      try {
        Implementation alone(
            {paths[other]},
            {.on_error = OnError::stop, .edges = options.edges, .columns = options.columns, .batch = 1});
        EventBatch batch;
        if (alone.next(batch, 1)) return true;
      } catch (const stream::NoEvents&) {
      } catch (const InputError&) {
        return true;  // who reads it says what is wrong
      }
    }
    return false;
  }

  bool next(EventBatch& batch, std::size_t most) {
    if (most == 0) throw UsageError("a reader cannot be asked for no events");
    batch.rows.clear();
    if (options.stop.stop_requested()) throw Cancelled();
    for (; current < paths.size(); ++current) {
      if (!decoder) decoder = open_or_pass(current);
      if (!decoder) continue;
      try {
        if (decoder->next(batch, most)) return true;
      } catch (const stream::NoEvents&) {
        batch.clear();
        if (!has_events_elsewhere(current)) throw;
      }
      skipped_before += decoder->skipped();
      if (const auto bytes = decoder->bytes_read()) bytes_before += bytes->all;
      if (const stream::SkippedLine* line = decoder->first_skipped(); line != nullptr && !first_skipped) {
        first_skipped = *line;
        first_skipped_file = current;
      }
      decoder.reset();
    }
    batch.clear();
    return false;
  }

  std::vector<std::vector<FileRange>> unread() {
    std::vector<std::vector<FileRange>> all(paths.size());
    for (std::size_t file = current; file < paths.size(); ++file)
      all[file] = file == current && decoder ? decoder->unread() : unread_of(file);
    return all;
  }

  std::optional<BytesRead> bytes_read() {
    BytesRead sum{bytes_before, bytes_before};
    for (std::size_t file = current; file < paths.size(); ++file) {
      if (!memory && is_pipe(paths[file])) return std::nullopt;
      if (file == current && decoder) {
        const auto bytes = decoder->bytes_read();
        if (!bytes) return std::nullopt;
        sum += *bytes;
        continue;
      }
      if (bytes_to_come.empty()) bytes_to_come.resize(paths.size());
      if (!bytes_to_come[file]) {
        const std::unique_ptr<stream::Decoder> opened = open_or_pass(file);
        bytes_to_come[file] = opened ? opened->bytes_read().value_or(BytesRead()).all : 0;
      }
      sum.all += *bytes_to_come[file];
    }
    return sum;
  }

  /// Of a file that has not been opened yet.
  const std::vector<FileRange>& unread_of(std::size_t file) {
    if (!known_unread[file]) {
      const stream::Part part = part_of(file);
      const bool may_block = !memory && is_pipe(paths[file]);
      if (part.slice_count == 1 || may_block) {
        const bool is_mine = paths[file] == "-" || file % options.slice_count == options.slice;
        known_unread[file] = is_mine ? part.uncut() : std::vector<FileRange>();
      } else {
        const std::unique_ptr<stream::Decoder> opened = open_or_pass(file);
        known_unread[file] = opened ? opened->unread() : std::vector<FileRange>();
      }
    }
    return *known_unread[file];
  }

  /// Verifies that the files are those of options.sources, and remembers which they are here.
  void agree() {
    if (options.sources.empty()) return;
    for (std::size_t file = 0; file < paths.size(); ++file) {
      if (options.sources.size() != paths.size() || options.sources[file].path != paths[file])
        throw UsageError("the sources that were looked at are others than those to be read");
      std::optional<FileIdentity>& identity = identities.emplace_back();
      if (paths[file] == "-") continue;
      const SourceInfo found = look_at(paths[file]);
      require_same(found, options.sources[file]);
      if (!found.pipe) identity = {found.size, found.device, found.inode};
    }
  }

  std::string describe_first_skipped() const {
    const stream::SkippedLine* line = first_skipped ? &*first_skipped : decoder ? decoder->first_skipped() : nullptr;
    if (line == nullptr) return {};
    if (line->line == 0) return line->reason;
    std::uint64_t before = 0;
    if (line->lines_from > 0) {
      const std::size_t file = first_skipped ? first_skipped_file : current;
      try {
        const auto input = memory ? memory_input(*memory, paths[file]) : open_input(paths[file]);
        before = stream::count_newlines(*input, line->lines_from);
      } catch (const InputError&) {
        return fmt::format("{}: line {} from byte {} on: {}", line->name, line->line, line->lines_from, line->reason);
      }
    }
    return fmt::format("{}:{}: {}", line->name, before + line->line, line->reason);
  }

  std::vector<std::string> paths;
  ReadOptions options;
  std::vector<std::optional<FileIdentity>> identities;  ///< Of the files that were agreed on; empty where none were.
  stream::Limits limits;
  std::optional<std::span<const std::byte>> memory;                 ///< Stands for the only file.
  std::size_t current = 0;                                          ///< That is being read, or opened next.
  std::unique_ptr<stream::Decoder> decoder;                         ///< Of that file, once it is open.
  std::vector<std::optional<std::vector<FileRange>>> known_unread;  ///< Of files that unread() has looked at.
  std::uint64_t bytes_before = 0;                                   ///< Of files that are done.
  std::vector<std::optional<std::uint64_t>> bytes_to_come;          ///< Of files that bytes_read() has looked at.
  std::uint64_t skipped_before = 0;                                 ///< Lines skipped in files that are done.
  std::optional<stream::SkippedLine> first_skipped;                 ///< In a file that is done.
  std::size_t first_skipped_file = 0;
};

EventReader::EventReader(std::vector<std::string> paths, ReadOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(paths), std::move(options))) {
  const std::vector<std::string>& names = implementation_->paths;
  if (std::count(names.begin(), names.end(), "-") > 1) throw UsageError("standard input ('-') can be read only once");
  for (const std::string& path : names) {
    if (path != "-") require_readable(path);
  }
  implementation_->agree();
}

EventReader::EventReader(std::span<const std::byte> bytes, std::string name, ReadOptions options)
    : implementation_(std::make_unique<Implementation>(std::vector{std::move(name)}, std::move(options))) {
  implementation_->memory = bytes;
}

EventReader::EventReader(EventReader&&) noexcept = default;
EventReader& EventReader::operator=(EventReader&&) noexcept = default;
EventReader::~EventReader() = default;

bool EventReader::next(EventBatch& batch, std::size_t most) { return implementation_->next(batch, most); }

std::vector<std::vector<FileRange>> EventReader::unread() const { return implementation_->unread(); }

std::optional<BytesRead> EventReader::bytes_read() const { return implementation_->bytes_read(); }

std::uint64_t EventReader::skipped() const noexcept {
  return implementation_->skipped_before + (implementation_->decoder ? implementation_->decoder->skipped() : 0);
}

std::string EventReader::first_skipped() const { return implementation_->describe_first_skipped(); }

}  // namespace weir

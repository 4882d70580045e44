#include "weir/stream/reader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "decoder.hpp"
#include "io/input.hpp"
#include "weir/error.hpp"
#include "weir/io/matrix_market.hpp"
#include "weir/io/npy.hpp"
#include "weir/stream/binary.hpp"

namespace weir {

namespace {

/// Bytes that tell the formats apart.
constexpr std::size_t magic_length = 16;

StreamFormat format_of(std::string_view head) noexcept {
  if (is_gzip(head)) return StreamFormat::gzip;
  if (resembles(head, binary_magic, 5)) return StreamFormat::binary;
  if (resembles(head, npy_magic, 4)) return StreamFormat::npy;
  return looks_like_matrix_market(head) ? StreamFormat::matrix_market : StreamFormat::text;
}

void require_readable(const std::string& path) {
  struct stat status {};
  int error = 0;
  if (::stat(path.c_str(), &status) != 0) {
    error = errno;
  } else if (S_ISDIR(status.st_mode)) {
    error = EISDIR;
  } else if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0) {
    error = errno;
  }
  if (error != 0) throw InputError(fmt::format("{}: cannot open: {}", path, std::strerror(error)));
}

/// What is in a file, decompressed.
std::unique_ptr<Input> open_content(const std::string& path) {
  require_readable(path);
  return content_of(open_input(path));
}

}  // namespace

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
    case StreamFormat::gzip:
      break;
  }
  return "gzip";
}

StreamFormat stream_format(const std::string& path) {
  require_readable(path);
  return format_of(open_input(path)->peek(magic_length));
}

StreamFormat content_format(const std::string& path) { return format_of(open_content(path)->peek(magic_length)); }

std::optional<std::array<std::uint64_t, 2>> stated_shape(const std::string& path) {
  const std::unique_ptr<Input> input = open_content(path);
  const StreamFormat format = format_of(input->peek(magic_length));
  if (format == StreamFormat::npy) {
    const NpyHeader header = stream::read_npy_header(*input);
    return std::array{header.rows, header.columns};
  }
  if (format == StreamFormat::matrix_market) {
    const MatrixMarketHeader header =
        parse_matrix_market_header(input->peek(matrix_market_header_limit), input->name());
    return std::array{header.rows, header.columns};
  }
  return std::nullopt;
}

bool is_pipe(const std::string& path) noexcept {
  struct stat status {};
  return path == "-" || (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode));
}

struct EventReader::Implementation {
  Implementation(std::vector<std::string> names, ReadOptions read_options)
      : paths(std::move(names)), options(std::move(read_options)), limits(options) {
    if (options.slice_count == 0 || options.slice >= options.slice_count) {
      throw UsageError(fmt::format("slice {} of {} does not exist", options.slice, options.slice_count));
    }
    if (options.batch == 0) throw UsageError("a batch must hold at least one event");
  }

  /// A decoder for this party's share of file number `file`; null when it has none.
  std::unique_ptr<stream::Decoder> open(std::size_t file) {
    std::unique_ptr<Input> input = memory ? memory_input(*memory, paths[file]) : open_input(paths[file]);
    const bool whole = paths[file] != "-" && file % options.slice_count != options.slice;
    if (!input->size() && whole) return nullptr;
    StreamFormat format = format_of(input->peek(magic_length));
    if (format == StreamFormat::gzip) {
      if (whole) return nullptr;
      input = decompress(std::move(input));
      format = format_of(input->peek(magic_length));
    }
    if (format == StreamFormat::binary) return stream::binary_decoder(std::move(input), options, limits);
    if (format == StreamFormat::npy) return stream::npy_decoder(std::move(input), options, limits);
    if (format == StreamFormat::matrix_market) return stream::matrix_market_decoder(std::move(input), options, limits);
    return stream::text_decoder(std::move(input), options, limits);
  }

  bool next(EventBatch& batch) {
    batch.rows.clear();
    while (decoder || next_file < paths.size()) {
      if (!decoder) decoder = open(next_file++);
      if (!decoder) continue;
      const bool delivered = decoder->next(batch);
      if (delivered) return true;
      skipped_before += decoder->skipped();
      decoder.reset();
    }
    batch.clear();
    return false;
  }

  std::vector<std::string> paths;
  ReadOptions options;
  stream::Limits limits;
  std::optional<std::span<const std::byte>> memory;  ///< Stands for the only file.
  std::size_t next_file = 0;
  std::unique_ptr<stream::Decoder> decoder;
  std::uint64_t skipped_before = 0;  ///< Lines skipped in files that are done.
};

EventReader::EventReader(std::vector<std::string> paths, ReadOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(paths), std::move(options))) {
  const std::vector<std::string>& names = implementation_->paths;
  if (std::count(names.begin(), names.end(), "-") > 1) throw UsageError("standard input ('-') can be read only once");
  for (const std::string& path : names) {
    if (path != "-") require_readable(path);
  }
}

EventReader::EventReader(std::span<const std::byte> bytes, std::string name, ReadOptions options)
    : implementation_(std::make_unique<Implementation>(std::vector{std::move(name)}, std::move(options))) {
  implementation_->memory = bytes;
}

EventReader::EventReader(EventReader&&) noexcept = default;
EventReader& EventReader::operator=(EventReader&&) noexcept = default;
EventReader::~EventReader() = default;

bool EventReader::next(EventBatch& batch) { return implementation_->next(batch); }

std::uint64_t EventReader::skipped() const noexcept {
  return implementation_->skipped_before + (implementation_->decoder ? implementation_->decoder->skipped() : 0);
}

}  // namespace weir

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "weir/event.hpp"
#include "weir/io/bytes_read.hpp"
#include "weir/io/cancelled.hpp"
#include "weir/names.hpp"
#include "weir/stream/columns.hpp"

namespace weir {

enum class OnError : std::uint8_t { stop, skip };

/// What lines of text mean that hold two or three numbers and name no operand: an edge from node i to node j, with a weight
/// in the third column, or of weight 1. Nodes are the indices that the file has.
enum class Edges : std::uint8_t {
  unsaid,  ///< They are events i,delta. But two whole numbers that a tab or blanks separate may be an edge as well: the user is
           ///< warned of the first such line of a file, and below comments that tell of a graph such lines are bad.
  none,  ///< They are events i,delta.
  out,   ///< Adds the weight to A[i,j]; where the default operand is a vector, to y[i], the out-degree of i.
  in,    ///< Adds the weight to A[j,i]; to y[j].
  both,  ///< Of a graph without directions: adds the weight to A[i,j] and A[j,i], once where i = j; to y[i] and y[j],
         ///< twice where i = j.
};

/// What a file of events can be.
enum class StreamFormat : std::uint8_t { text, binary, matrix_market, npy, gzip, zstd, compressed };

/// "text", "binary", "Matrix Market", ".npy", "gzip", "zstd", "compressed".
[[nodiscard]] std::string_view to_string(StreamFormat format) noexcept;
/// The format of a file, told by its first bytes: `compressed` is a deflated member of an archive. Throws InputError when it
/// cannot be read, also because it is compressed in a way that is not read.
[[nodiscard]] StreamFormat stream_format(const std::string& path);
/// The same of what a compressed file decompresses to. Throws InputError also when that is compressed again.
[[nodiscard]] StreamFormat content_format(const std::string& path);
/// Rows and columns that the header of an .npy or Matrix Market file states, or of what a file decompresses to; none
/// for files of events. Where `edges` says that text is edges, those of the matrix that its comments tell: "# Nodes: N" as in
/// files of SNAP, where larger indices may come all the same, or a line "% M N1 N2" of KONECT, whose nodes count from 1 so
/// that there are N1 + 1 indices. Throws InputError.
[[nodiscard]] std::optional<std::array<std::uint64_t, 2>> stated_shape(const std::string& path,
                                                                       Edges edges = Edges::unsaid);
/// True for standard input ("-") and for whatever else is neither a file nor a directory: it can be read only once, by
/// one party, and opening and reading it may block.
[[nodiscard]] bool is_pipe(const std::string& path) noexcept;

/// What somebody saw who looked at a source. When several parties read a file by slices, one of them looks and tells the
/// others, so that all cut the same file.
struct SourceInfo {
  std::string path;
  std::uint64_t size = 0;    ///< Bytes; 0 of a pipe.
  std::uint64_t device = 0;  ///< With `inode`, which file this is on the machine of the one who looked.
  std::uint64_t inode = 0;
  std::uint64_t fingerprint = 0;  ///< XXH3 of the first and last 4096 bytes; 0 of a pipe.
  bool pipe = false;              ///< As is_pipe().

  bool operator==(const SourceInfo&) const = default;
};

/// Looks at `path`, in O(1): two short reads of a file. Throws InputError "PATH: cannot open: reason" when it is missing,
/// unreadable or a directory, and "standard input: closed".
[[nodiscard]] SourceInfo look_at(const std::string& path);

/// A part of a file, [begin, end). The unit is bytes of text and Matrix Market files, of which the lines that begin there are
/// meant; events of binary files; rows of .npy files, zeros of vectors and bad rows included; and of compressed text and
/// Matrix Market files, and of Matrix Market arrays, which cannot be cut, lines that are events, bad ones included. `end` may lie beyond the end of the
/// file.
struct FileRange {
  std::uint64_t begin = 0;
  std::uint64_t end = std::numeric_limits<std::uint64_t>::max();

  bool operator==(const FileRange&) const = default;
};

/// Columns of a matrix, at most, whose rows can come whole.
inline constexpr std::size_t longest_row = std::size_t{1} << 20;

/// How a stream is read. A slice is the part of every file that one of `slice_count` parties reads; the slices of a
/// file partition its events for any slice_count. A compressed file, a Matrix Market array or a named pipe cannot be cut: it belongs whole to
/// party (file number) mod slice_count.
struct ReadOptions {
  std::uint32_t slice = 0;
  std::uint32_t slice_count = 1;
  OnError on_error = OnError::stop;       ///< stop: throw InputError at the first bad line; skip: count it and go on.
  std::vector<OperandShape> shapes = {};  ///< Operands that the model takes, with their shapes; an event of another
                                          ///< operand is bad input. None: every operand, any index below 2^63.
  Operand default_operand = Operand::y;   ///< What Matrix Market and .npy files mean, and `i,delta` lines if it is a
                                          ///< vector.
  Edges edges = Edges::unsaid;            ///< Of lines of text.
  Columns columns = {};                   ///< Where there are any, lines of text are those of a table with keys.
  std::uint64_t key_seed = 0;             ///< Of the hash of keys that are text: that of the sketch.
  std::shared_ptr<NameSink> names = {};   ///< Gets the names of keys that are hashed; none where they do not matter.
  /// Called with a line for the user, by the party that begins a file, once for the file at most. May be empty; called by
  /// the thread that reads.
  std::function<void(const std::string&)> warn = {};
  std::string advice = {};      ///< Ends the complaint about an event of another operand; may be empty.
  std::string shape_note = {};  ///< The same about an index that is too large.
  std::size_t batch = 8192;     ///< Events a batch, at most; see EventReader::next.
  std::size_t row_values = std::size_t{1} << 18;  ///< Values of whole rows that fill a batch, too.
  /// What was seen at the paths, one entry each, by the party that all slices rely on. None: the reader looks itself,
  /// and reads of each file as much as it has when its turn comes.
  ///
  /// A reader that finds a file of another size or fingerprint throws InputError. Device and inode are not compared
  /// with those of another party: two machines may number one file differently, or hold a copy each, which is as good.
  /// The reader remembers those that it finds itself, and throws InputError when another file has taken the name by the
  /// time it is opened, or when the file has become shorter. Of a file that grew since exactly `size` bytes are read.
  std::vector<SourceInfo> sources = {};
  /// The parts of each file that are to be read, in place of all of it: one list for each path, in any order, which is empty
  /// for a file that is done, which is not opened then. Every party is given the same lists, and reads its share_of() each;
  /// but a compressed file belongs whole to one party, as without ranges. A party that has its own ranges is slice 0 of 1.
  std::optional<std::vector<std::vector<FileRange>>> ranges = {};
  /// When a stop is requested, next() throws Cancelled at once, also while it waits for a pipe to be opened by a writer
  /// or to be written to. Costs an event descriptor for each open pipe.
  std::stop_token stop = {};
};

/// The share of `ranges` that party `slice` of `slice_count` reads, as large as the others' but for one; in ascending order,
/// those that touch joined, without empty ones, and cut at `size`, the length of the file in the unit of the ranges. The
/// shares partition the ranges. O(n log n) for n ranges. Throws InputError for a range that ends before it begins, begins
/// behind `size`, or overlaps another; UsageError for a slice that does not exist.
[[nodiscard]] std::vector<FileRange> share_of(const std::vector<FileRange>& ranges, std::uint64_t size,
                                              std::uint32_t slice, std::uint32_t slice_count);

/// Numbers are read as the nearest double, but a whole number that no double equals is bad: 9007199254740993, say, while
/// all up to 2^53 = 9007199254740992 are taken. So nothing that is counted is changed in silence.
///
/// Text has an event a line, `i,delta`, `y,i,delta`, `x,j,delta`, `A,i,j,delta`, `A1,i,j,delta`, `A2,i,j,delta` or
/// `X,j,k,delta`, with fields separated by commas, tabs or blanks; or a whole row of a matrix operand that comes,
/// `A,i,*,v0,v1,...`, or leaves, `A,i,-*,v0,v1,...`: as many values as the operand has columns, any number up to
/// longest_row where no shapes are given; or an edge, where options.edges says so. Where options.columns says so it is a table
/// or JSON instead, with a key a line: lines have up to 2^20 bytes then, and # begins a comment above the first line only. Blank lines and lines that begin with #
/// or % are skipped, `\r\n` ends a line too, and no other line is longer than 4096 bytes and 32 more for each column of the
/// widest matrix operand. Each entry of a
/// Matrix Market file is an insertion, zeros too. The binary format is in binary.hpp. Damage to a binary or compressed file, and
/// a wrong number of entries in a Matrix Market file, always ends the reading. So does a file without events, unless another
/// one has some.
///
/// A .npy file, named and made as io/npy.hpp says, is a stream of the rows of an array: row k is the event that row k of the default
/// operand comes. Where that is a vector the array must be 1-d or have one row or column, and each of its entries but
/// the zeros is an insertion. Arrays in Fortran order can be read from plain files only. A row that is not finite, or
/// has an integer that a double does not hold exactly, counts as a bad line; an array of another shape than the
/// operand's, or than the file has data for, ends the reading.
///
/// Reads events from files (text, binary records, Matrix Market, .npy, gzip or zstd of them; told apart by content) or from
/// standard input ("-", whole, whatever the slice). One pass, bounded memory.
class EventReader {
 public:
  /// Missing and unreadable files are reported here, by name, and files that are not as options.sources says. Leaves
  /// none of them open. Throws InputError, also for ranges that overlap or end before they begin; UsageError when
  /// options.sources belong to other paths, or options.ranges to another number of them.
  EventReader(std::vector<std::string> paths, ReadOptions options);
  /// Reads `bytes` as it would a file of that content called `name`; they must outlive the reader.
  EventReader(std::span<const std::byte> bytes, std::string name, ReadOptions options);
  EventReader(EventReader&&) noexcept;
  EventReader& operator=(EventReader&&) noexcept;
  ~EventReader();

  /// Replaces the contents of `batch` with the next events, at most `most` of them, and at most options.batch (one more where
  /// a line stands for two: of a symmetric Matrix Market file, or an edge of Edges::both); fewer do not mean that there are no more. False, with an empty
  /// batch, at the end of the last file. Throws InputError that names file, line (text) or byte (binary), and what was
  /// expected, also for ranges that begin behind the end of a file; Cancelled; UsageError when `most` is 0.
  bool next(EventBatch& batch, std::size_t most = std::numeric_limits<std::size_t>::max());

  /// What is still to be read of each path, for ReadOptions::ranges of later readers: every event of this reader's slices
  /// or ranges that next() has not delivered, and no other, and no bad line that has been skipped. Later readers are given
  /// the ranges that all slices return of a path as one list. A file of which only what is checked at its end is left has a
  /// range that begins at the end. O(paths and ranges), but the first call opens, and closes, the files that this reader
  /// has a slice of (of several) and has not opened yet. Throws what next() will throw when it opens them.
  [[nodiscard]] std::vector<std::vector<FileRange>> unread() const;

  /// Bytes of this reader's slices that have been read, about, and those that it reads in all; of compressed files,
  /// compressed bytes. None where a pipe is among the files. The first call opens, and closes, the files that have not been
  /// opened yet, and throws what next() will throw when it opens them.
  [[nodiscard]] std::optional<BytesRead> bytes_read() const;

  /// Bad lines skipped so far (OnError::skip).
  [[nodiscard]] std::uint64_t skipped() const noexcept;
  /// What was wrong with the first of them, as next() would have thrown it; empty when none was skipped. In a slice of a
  /// text file that does not begin with the file's first byte, this reads what comes before, to count its lines.
  [[nodiscard]] std::string first_skipped() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir

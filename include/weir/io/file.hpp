#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace weir {

/// A regular file that is open for reading at any offset. Move-only; closes itself.
class InputFile {
 public:
  /// Throws InputError "PATH: reason" for a missing or unreadable file, a directory, a pipe or a device.
  explicit InputFile(std::string path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// Size in bytes when the file was opened.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// For interfaces that want a descriptor (gzdopen after dup, mmap); stays owned by this object.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

  /// Fills `out` with the bytes from `offset` on; fewer only at the end of the file. Returns how many. Throws
  /// InputError.
  std::size_t read_some_at(std::uint64_t offset, std::span<std::byte> out) const;
  /// Fills `out`, or throws InputError that says at which byte the file ended.
  void read_exactly_at(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  int descriptor_ = -1;
};

/// The whole file as a string. Throws InputError.
[[nodiscard]] std::string read_whole_file(const InputFile& file);

/// Throws what OutputFile would, long before there is anything to write. Leaves no trace; a device or a pipe is not
/// opened.
void require_creatable(const std::string& path);

/// Removes the temporary files of all OutputFiles of this process. Async-signal-safe: a program calls it in its handlers
/// of the signals that end it; the library installs none. What these OutputFiles do afterwards is not defined, except
/// that nothing appears under the names that they were to write.
void remove_temporary_files_now() noexcept;

/// Writes a file that appears under its name only when it is complete: a file without a name in the same directory, then
/// fsync, a temporary name, rename, and fsync of the directory. Whatever ends the process before commit(), nothing is
/// left. A signal that comes in the microseconds of the temporary name, or at any time on a file system that has no
/// files without a name (no O_TMPFILE), leaves "weir-PID-RANDOM.tmp" unless its handler calls
/// remove_temporary_files_now().
///
/// A symbolic link is followed; one to a file that does not exist creates that file. A device or a pipe ("/dev/stdout")
/// is written to directly.
class OutputFile {
 public:
  /// Throws InputError "PATH: reason" when it cannot be created.
  explicit OutputFile(std::string path);
  /// Without commit(): removes the temporary file and leaves what was under the name before.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// True for a device or a pipe.
  [[nodiscard]] bool is_direct() const noexcept { return direct_; }

  /// Appends. Unbuffered: hand over large pieces. Throws InputError: no space left on the device, or a file larger than
  /// the process may write (where it ignores SIGXFSZ, which ends it otherwise).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Overwrites bytes that were written before (a header whose counts are known only at the end). Not for devices and
  /// pipes.
  void overwrite_at(std::uint64_t offset, std::span<const std::byte> bytes);
  /// The last call: afterwards the file is on disk under its name. Throws InputError; then nothing has changed under
  /// the name.
  void commit();

 private:
  class TemporaryName;

  std::string path_;    ///< As given, for messages.
  std::string target_;  ///< With symbolic links resolved.
  bool direct_ = false;
  int descriptor_ = -1;
  std::unique_ptr<TemporaryName> temporary_;  ///< Null while the file has no name.
};

/// Writes a file that grows in place, for readers that follow it. A symbolic link is followed; a device or a pipe is written
/// to directly, and opening a pipe waits for its reader.
class GrowingFile {
 public:
  /// Begins the file anew, unless `goes_on`: then what is there stays, but for a last line without its end, which a process
  /// that was killed had begun. Throws InputError "PATH: reason" for a directory, and where it cannot be opened.
  GrowingFile(std::string path, bool goes_on);
  ~GrowingFile();
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  /// True where nothing has been written, now or before.
  [[nodiscard]] bool is_empty() const noexcept { return is_empty_; }
  /// Appends. Other processes read the bytes when this returns; they survive the end of this process, but not that of the
  /// machine. Throws InputError: no space left on the device.
  void write(std::string_view text);

 private:
  std::string path_;
  int descriptor_ = -1;
  bool is_empty_ = true;
};

}  // namespace weir

#include "weir/io/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <system_error>
#include <utility>

#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::size_t largest_transfer = std::size_t{1} << 30;  // read and write take less than 2 GiB at a time

[[noreturn]] void fail(const std::string& path, const std::string& action, int error) {
  throw InputError(fmt::format("{}: cannot {}: {}", path, action, std::generic_category().message(error)));
}

template <class Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

void write_all(int descriptor, const std::string& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t wanted = std::min(bytes.size(), largest_transfer);
    const ssize_t count = retry_interrupted([&] { return ::write(descriptor, bytes.data(), wanted); });
    if (count < 0) fail(path, "write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

std::string_view kind_of(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

std::string directory_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? std::string(".") : parent.string();
}

/// The file that `path` leads to through symbolic links, whether that file exists or not.
std::string follow_links(const std::string& path) {
  constexpr int most_links = 40;  // as many as Linux follows
  std::filesystem::path target = path;
  for (int link = 0; link <= most_links; ++link) {
    std::error_code not_a_link;
    const std::filesystem::path next = std::filesystem::read_symlink(target, not_a_link);
    if (not_a_link) return target.string();
    target = target.parent_path() / next;
  }
  fail(path, "create", ELOOP);
}

/// What a signal handler has to know of a temporary file. A slot is free, then claimed by the thread that writes its
/// path, then armed: the path is complete and the file may exist. A handler moves it from armed to removed, where it
/// stays, so that the path does not change while the handler uses it.
struct Slot {
  enum State : int { free, claimed, armed, removed };

  std::atomic<int> state{free};
  pid_t process = 0;                  ///< A child that was forked does not remove the files of its parent.
  std::array<char, PATH_MAX> path{};  ///< Absolute, ended by a zero.
};
static_assert(std::atomic<int>::is_always_lock_free, "signal handlers may use nothing else");

/// When all slots are taken, or a path is too long, a file has none, and outlives a signal.
constinit std::array<Slot, 32> slots;

/// An armed slot for the file `path`, or null.
Slot* arm_slot(const std::string& path) {
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(path, error).string();
  if (error || absolute.size() >= PATH_MAX) return nullptr;
  for (Slot& slot : slots) {
    int expected = Slot::free;
    if (!slot.state.compare_exchange_strong(expected, Slot::claimed)) continue;
    slot.process = ::getpid();
    std::memcpy(slot.path.data(), absolute.c_str(), absolute.size() + 1);
    slot.state.store(Slot::armed);
    return &slot;
  }
  return nullptr;
}

std::string name_by_descriptor(int descriptor) { return fmt::format("/proc/self/fd/{}", descriptor); }

/// A file without a name in `directory`, open for writing; -1 where the file system has none, or where it could not be
/// named later because /proc is missing.
int open_unnamed(const std::string& directory) {
  const int descriptor =
      retry_interrupted([&] { return ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666); });
  if (descriptor >= 0 && ::access(name_by_descriptor(descriptor).c_str(), F_OK) != 0) {
    ::close(descriptor);
    return -1;
  }
  return descriptor;
}

}  // namespace

void remove_temporary_files_now() noexcept {
  const int error = errno;
  for (Slot& slot : slots) {
    int expected = Slot::armed;
    if (slot.state.compare_exchange_strong(expected, Slot::removed) && slot.process == ::getpid())
      ::unlink(slot.path.data());
  }
  errno = error;
}

/// The name of a file that is not complete. It exists as long as this object, unless rename_to() ends it.
class OutputFile::TemporaryName {
 public:
  /// Invents a name in the directory of `target` and calls `create` with it, which makes the file. Throws InputError
  /// that names `path` when `create` returns a negative number.
  template <class Create>
  TemporaryName(const std::string& path, const std::string& target, const Create& create) {
    std::random_device source;
    const std::uint64_t number = std::uint64_t{source()} << 32 | source();
    // The name of the target is no part of it: that may be as long as a name can be.
    name_ = fmt::format("{}/weir-{}-{:016x}.tmp", directory_of(target), ::getpid(), number);
    slot_ = arm_slot(name_);  // before the file exists: a signal may come at once
    if (create(name_.c_str()) >= 0) return;
    const int error = errno;
    free_slot();
    fail(path, "create", error);
  }
  ~TemporaryName() {
    if (!name_.empty()) ::unlink(name_.c_str());
    free_slot();
  }
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;

  /// Returns false, with errno set, when that fails; the name stays.
  bool rename_to(const std::string& target) {
    if (::rename(name_.c_str(), target.c_str()) != 0) return false;
    name_.clear();
    return true;
  }

 private:
  void free_slot() noexcept {
    int expected = Slot::armed;
    if (slot_ != nullptr) slot_->state.compare_exchange_strong(expected, Slot::free);
    slot_ = nullptr;
  }

  std::string name_;  ///< Empty when the file has its own name.
  Slot* slot_ = nullptr;
};

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a named pipe that nobody writes to must not hang; it is refused below.
  descriptor_ = retry_interrupted([&] { return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
  if (descriptor_ < 0) fail(path_, "open", errno);
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    const int error = errno;
    ::close(descriptor_);
    fail(path_, "open", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw InputError(fmt::format("{}: expected a regular file, found {}", path_, kind_of(status.st_mode)));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), descriptor_(std::exchange(other.descriptor_, -1)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::size_t InputFile::read_some_at(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::size_t wanted = std::min(out.size() - done, largest_transfer);
    const ssize_t count = retry_interrupted(
        [&] { return ::pread(descriptor_, out.data() + done, wanted, static_cast<off_t>(offset + done)); });
    if (count < 0) fail(path_, fmt::format("read at byte {}", offset + done), errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void InputFile::read_exactly_at(std::uint64_t offset, std::span<std::byte> out) const {
  const std::size_t count = read_some_at(offset, out);
  if (count < out.size()) {
    throw InputError(fmt::format("{}: expected {} bytes at byte {}, but the file ends at byte {}", path_, out.size(),
                                 offset, offset + count));
  }
}

std::string read_whole_file(const InputFile& file) {
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read_exactly_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void require_creatable(const std::string& path) {
  struct stat status {};
  const bool direct = ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
  if (!direct) {
    const OutputFile attempt(path);
  } else if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
    fail(path, "write", errno);
  }
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)), target_(path_) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) throw InputError(fmt::format("{}: cannot write: it is a directory", path_));
    if (!S_ISREG(status.st_mode)) {
      direct_ = true;
      descriptor_ = retry_interrupted([&] { return ::open(path_.c_str(), O_WRONLY | O_CLOEXEC); });
      if (descriptor_ < 0) fail(path_, "write", errno);
      return;
    }
  } else if (errno != ENOENT || path_.empty()) {
    fail(path_, "create", errno);  // found now rather than when the file is complete: a name too long, a loop of links
  }
  // Renaming over a symbolic link would replace the link and leave the file that it names as it was.
  target_ = follow_links(path_);
  descriptor_ = open_unnamed(directory_of(target_));
  if (descriptor_ >= 0) return;
  temporary_ = std::make_unique<TemporaryName>(path_, target_, [&](const char* name) {
    return descriptor_ = retry_interrupted([&] { return ::open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  });
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::write(std::span<const std::byte> bytes) { write_all(descriptor_, path_, bytes); }

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void OutputFile::overwrite_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t wanted = std::min(bytes.size(), largest_transfer);
    const ssize_t count =
        retry_interrupted([&] { return ::pwrite(descriptor_, bytes.data(), wanted, static_cast<off_t>(offset)); });
    if (count < 0) fail(path_, "write", errno);
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void OutputFile::commit() {
  if (direct_) {
    if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "write", errno);
    return;
  }
  if (retry_interrupted([&] { return ::fsync(descriptor_); }) != 0) fail(path_, "write", errno);
  // A link cannot replace what has the name of the target, so that a file without a name needs one to be renamed.
  if (!temporary_) {
    temporary_ = std::make_unique<TemporaryName>(path_, target_, [&](const char* name) {
      return ::linkat(AT_FDCWD, name_by_descriptor(descriptor_).c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW);
    });
  }
  if (!temporary_->rename_to(target_)) fail(path_, "rename to", errno);
  temporary_.reset();
  ::close(std::exchange(descriptor_, -1));

  // The rename itself must reach the disk too. Some file systems cannot flush a directory; that is no failure of the
  // write.
  const std::string directory = directory_of(target_);
  const int handle = retry_interrupted([&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (handle >= 0) {
    ::fsync(handle);
    ::close(handle);
  }
}

namespace {

/// Where the last line of a file of `size` bytes ends; 0 where none does.
std::uint64_t end_of_lines(int descriptor, const std::string& path, std::uint64_t size) {
  std::array<char, 65536> piece{};
  for (std::uint64_t end = size; end > 0;) {
    const std::uint64_t begin = end - std::min<std::uint64_t>(end, piece.size());
    const auto length = static_cast<std::size_t>(end - begin);
    const ssize_t count =
        retry_interrupted([&] { return ::pread(descriptor, piece.data(), length, static_cast<off_t>(begin)); });
    if (count < 0 || static_cast<std::size_t>(count) < length) fail(path, "read", count < 0 ? errno : EIO);
    const std::size_t newline = std::string_view(piece.data(), length).rfind('\n');
    if (newline != std::string_view::npos) return begin + newline + 1;
    end = begin;
  }
  return 0;
}

}  // namespace

GrowingFile::GrowingFile(std::string path, bool goes_on) : path_(std::move(path)) {
  struct stat status {};
  const bool is_there = ::stat(path_.c_str(), &status) == 0;
  if (is_there && S_ISDIR(status.st_mode)) throw InputError(fmt::format("{}: cannot write: it is a directory", path_));
  const bool is_direct = is_there && !S_ISREG(status.st_mode);
  const int flags =
      O_CREAT | O_APPEND | O_CLOEXEC | (goes_on && !is_direct ? O_RDWR : O_WRONLY) | (goes_on ? 0 : O_TRUNC);
  descriptor_ = retry_interrupted([&] { return ::open(path_.c_str(), flags, 0666); });
  if (descriptor_ < 0) fail(path_, "write", errno);
  try {
    if (::fstat(descriptor_, &status) != 0) fail(path_, "write", errno);
    if (!goes_on || !S_ISREG(status.st_mode)) return;
    const std::uint64_t end = end_of_lines(descriptor_, path_, static_cast<std::uint64_t>(status.st_size));
    if (retry_interrupted([&] { return ::ftruncate(descriptor_, static_cast<off_t>(end)); }) != 0)
      fail(path_, "write", errno);
    is_empty_ = end == 0;
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

GrowingFile::~GrowingFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void GrowingFile::write(std::string_view text) {
  is_empty_ = is_empty_ && text.empty();
  write_all(descriptor_, path_, std::as_bytes(std::span(text)));
}

}  // namespace weir

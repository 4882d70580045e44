#include "weir/io/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
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

std::string_view kind_of(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

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
  if (::stat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    if (S_ISDIR(status.st_mode)) throw InputError(fmt::format("{}: cannot write: it is a directory", path_));
    descriptor_ = retry_interrupted([&] { return ::open(path_.c_str(), O_WRONLY | O_CLOEXEC); });
    if (descriptor_ < 0) fail(path_, "write", errno);
    return;
  }
  // Renaming over a symbolic link would replace the link and leave the file that it names as it was.
  std::error_code error;
  if (std::filesystem::is_symlink(path_, error)) {
    target_ = std::filesystem::weakly_canonical(path_, error).string();
    if (error) fail(path_, "write", error.value());
  }

  static std::atomic<unsigned> next_number{0};
  constexpr int attempts =
      1000;  // names left over by killed processes with our process id, or other hosts' on a shared disk
  for (int attempt = 0; attempt < attempts && descriptor_ < 0; ++attempt) {
    temporary_ = fmt::format("{}.{}-{}.tmp", target_, ::getpid(), next_number++);
    descriptor_ =
        retry_interrupted([&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    if (descriptor_ < 0 && errno != EEXIST) fail(path_, "create", errno);
  }
  if (descriptor_ < 0) fail(path_, "create", EEXIST);
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!is_direct()) ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t wanted = std::min(bytes.size(), largest_transfer);
    const ssize_t count = retry_interrupted([&] { return ::write(descriptor_, bytes.data(), wanted); });
    if (count < 0) fail(path_, "write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

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
  if (is_direct()) {
    if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "write", errno);
    return;
  }
  if (retry_interrupted([&] { return ::fsync(descriptor_); }) != 0) fail(path_, "write", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(path_, "rename to", errno);
  ::close(std::exchange(descriptor_, -1));

  // The rename itself must reach the disk too. Some file systems cannot flush a directory; that is no failure of the
  // write.
  const std::filesystem::path parent = std::filesystem::path(target_).parent_path();
  const std::filesystem::path directory = parent.empty() ? std::filesystem::path(".") : parent;
  const int handle = retry_interrupted([&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (handle >= 0) {
    ::fsync(handle);
    ::close(handle);
  }
}

}  // namespace weir

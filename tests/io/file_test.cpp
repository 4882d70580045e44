#include "weir/io/file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::contents_of;
using testing_support::expect_error;
using testing_support::TemporaryDirectory;

/// True when a file in `directory` can be written before it has a name.
bool has_unnamed_files(const TemporaryDirectory& directory) {
  const int descriptor = ::open(directory.path().c_str(), O_TMPFILE | O_WRONLY, 0600);
  if (descriptor >= 0) ::close(descriptor);
  return descriptor >= 0;
}

/// From now on this process finds no file system that has unnamed files: open() with O_TMPFILE fails as on NFS. Only for
/// a child process, as nothing takes it back. The flags of openat() are its third argument, whose lower half is looked
/// at.
bool forget_unnamed_files() {
  constexpr std::size_t low_half = std::endian::native == std::endian::little ? 0 : 4;
  constexpr std::uint32_t flag = O_TMPFILE & ~O_DIRECTORY;
  std::array<sock_filter, 6> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 2 * 8 + low_half),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flag, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

/// A child process that runs `work`, and exits with 0 when it returns true.
class Child {
 public:
  template <class Work>
  explicit Child(const Work& work) : process_(::fork()) {
    if (process_ != 0) return;
    bool good = false;
    try {
      good = work();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    ::_exit(good && !testing::Test::HasFailure() ? 0 : 1);
  }
  /// The signal that ends the child, or else its exit code with a minus.
  int end() const {
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) continue;
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
  }
  int end_by(int signal) const {
    ::kill(process_, signal);
    return end();
  }

 private:
  pid_t process_;
};

/// Starts a child that writes to `path` without end, and returns it when it is in the middle of that.
template <class Prepare>
Child start_writing(const std::string& path, const Prepare& prepare) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const Child child([&] {
    if (!prepare()) return false;
    OutputFile file(path);
    const std::vector<std::byte> piece(std::size_t{1} << 16);
    file.write(piece);
    if (::write(ends[1], "w", 1) != 1) return false;
    while (true) file.overwrite_at(0, piece);
  });
  ::close(ends[1]);
  char told = 0;
  EXPECT_EQ(::read(ends[0], &told, 1), 1);
  ::close(ends[0]);
  return child;
}

/// What a program does at a signal that ends it.
void remove_and_end(int signal) {
  remove_temporary_files_now();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

TEST(InputFile, ReadsAtAnyOffset) {
  const TemporaryDirectory directory;
  const InputFile file(directory.write("digits", "0123456789"));
  EXPECT_EQ(file.size(), 10U);
  std::array<char, 4> out{};
  file.read_exactly_at(3, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(std::string(out.begin(), out.end()), "3456");
  EXPECT_EQ(file.read_some_at(8, std::as_writable_bytes(std::span(out))), 2U);
  EXPECT_EQ(file.read_some_at(10, std::as_writable_bytes(std::span(out))), 0U);
  EXPECT_EQ(read_whole_file(file), "0123456789");
}

TEST(InputFile, SaysWhereTheFileEnded) {
  const TemporaryDirectory directory;
  const InputFile file(directory.write("digits", "0123456789"));
  std::array<char, 4> out{};
  expect_error([&] { file.read_exactly_at(8, std::as_writable_bytes(std::span(out))); },
               {"digits", "expected 4 bytes at byte 8", "ends at byte 10"});
}

TEST(InputFile, MovesOwnership) {
  const TemporaryDirectory directory;
  InputFile first(directory.write("a", "aaa"));
  InputFile second(directory.write("b", "bb"));
  second = std::move(first);
  EXPECT_EQ(read_whole_file(second), "aaa");
  const InputFile third(std::move(second));
  EXPECT_EQ(read_whole_file(third), "aaa");
}

TEST(InputFile, RefusesWhatIsNotARegularFile) {
  const TemporaryDirectory directory;
  expect_error([&] { InputFile(directory / "missing"); }, {"missing", "No such file"});
  expect_error([&] { InputFile(directory.path().string()); }, {"expected a regular file, found a directory"});
  expect_error([] { InputFile("/dev/null"); }, {"/dev/null", "found a device"});
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  expect_error([&] { InputFile{pipe}; }, {"found a pipe"});
}

TEST(OutputFile, IsKnownToBeCreatableBeforehand) {
  const TemporaryDirectory directory;
  require_creatable(directory / "new");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  const std::string old = directory.write("old", "content");
  require_creatable(old);
  EXPECT_EQ(contents_of(old), "content");
  require_creatable("/dev/null");
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  require_creatable(pipe);  // does not wait for a reader
  expect_error([&] { require_creatable(directory.path().string()); }, {"is a directory"});
  expect_error([&] { require_creatable(directory / "missing/new"); }, {"missing/new", "No such file"});
}

TEST(OutputFile, AppearsOnlyWhenCommitted) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  OutputFile file(path);
  file.write("hello ");
  file.write("world");
  EXPECT_EQ(contents_of(path), "before");
  EXPECT_EQ(directory.entries(), has_unnamed_files(directory) ? 1U : 2U);
  file.overwrite_at(0, std::as_bytes(std::span("J", 1)));
  file.commit();
  EXPECT_EQ(contents_of(path), "Jello world");
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, LeavesNothingBehindWithoutCommit) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  { OutputFile(path).write("after"); }
  EXPECT_EQ(contents_of(path), "before");
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, TwoWritersOfOneNameDoNotMix) {
  const TemporaryDirectory directory;
  const std::string path = directory / "out";
  OutputFile first(path);
  OutputFile second(path);
  first.write("first");
  second.write("second");
  first.commit();
  EXPECT_EQ(contents_of(path), "first");
  second.commit();
  EXPECT_EQ(contents_of(path), "second");
}

TEST(OutputFile, FollowsASymbolicLink) {
  const TemporaryDirectory directory;
  const std::string target = directory.write("target", "before");
  const std::string link = directory / "link";
  std::filesystem::create_symlink("target", link);
  OutputFile file(link);
  file.write("after");
  file.commit();
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(contents_of(target), "after");
}

TEST(OutputFile, CreatesTheFileThatALinkNames) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "sub");
  std::filesystem::create_symlink("sub/second", directory / "first");
  std::filesystem::create_symlink("../third", directory / "sub/second");
  std::filesystem::create_symlink(directory / "target", directory / "third");
  require_creatable(directory / "first");
  EXPECT_FALSE(std::filesystem::exists(directory / "target"));
  for (const std::string content : {"new", "newer"}) {
    OutputFile file(directory / "first");
    file.write(content);
    file.commit();
    EXPECT_EQ(contents_of(directory / "target"), content);
  }
  for (const std::string_view link : {"first", "sub/second", "third"})
    EXPECT_TRUE(std::filesystem::is_symlink(directory / link));
  EXPECT_EQ(directory.entries(), 4U);

  std::filesystem::create_symlink("missing/file", directory / "astray");
  expect_error([&] { OutputFile(directory / "astray"); }, {"astray", "No such file"});
}

TEST(OutputFile, RefusesALoopOfLinks) {
  const TemporaryDirectory directory;
  std::filesystem::create_symlink("b", directory / "a");
  std::filesystem::create_symlink("a", directory / "b");
  expect_error([&] { OutputFile(directory / "a"); }, {"a: cannot create", "Too many levels of symbolic links"});
  expect_error([&] { require_creatable(directory / "b"); }, {"b: cannot create", "symbolic links"});
}

TEST(OutputFile, TakesNamesAsLongAsTheyCanBe) {
  const TemporaryDirectory directory;
  const std::string path = directory / std::string(255, 'n');
  OutputFile file(path);
  file.write("content");
  file.commit();
  EXPECT_EQ(contents_of(path), "content");
  expect_error([&] { OutputFile(directory / std::string(256, 'n')); }, {"cannot create", "too long"});
  expect_error([] { OutputFile(""); }, {"cannot create"});
}

TEST(OutputFile, WritesToADeviceDirectly) {
  OutputFile file("/dev/null");
  file.write("gone");
  file.commit();
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(OutputFile, NamesTheFileThatCannotBeWritten) {
  const TemporaryDirectory directory;
  expect_error([&] { OutputFile(directory / "missing/out"); }, {"missing/out", "No such file"});
  expect_error([&] { OutputFile(directory.path().string()); }, {"directory"});
  expect_error([] { OutputFile("/dev/full").write("some bytes"); }, {"/dev/full", "No space left"});
}

TEST(OutputFile, RemovesTheTemporaryFileWhenTheRenameFails) {
  const TemporaryDirectory directory;
  const std::string path = directory / "out";
  {
    OutputFile file(path);
    file.write("bytes");
    std::filesystem::create_directory(path);  // somebody takes the name meanwhile
    expect_error([&] { file.commit(); }, {"out", "rename"});
  }
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, SaysThatAFileWouldBeTooLarge) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  const Child child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 1000, .rlim_max = 1000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    const std::vector<std::byte> bytes(1001);
    OutputFile file(path);
    file.write(std::span(bytes).first(1000));
    expect_error([&] { file.write(std::span(bytes).last(1)); }, {path, "cannot write", "File too large"});
    expect_error([&] { OutputFile(path).write(bytes); }, {path, "cannot write", "File too large"});
    return true;
  });
  EXPECT_EQ(child.end(), 0);
  EXPECT_EQ(contents_of(path), "before");
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, LeavesNothingWhenTheProcessIsKilled) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(has_unnamed_files(directory)) << "set TMPDIR to a directory of ext4, xfs, btrfs or tmpfs";
  const std::string path = directory.write("out", "before");
  for (const int signal : {SIGTERM, SIGINT, SIGKILL}) {
    EXPECT_EQ(start_writing(path, [] { return true; }).end_by(signal), signal);
    EXPECT_EQ(contents_of(path), "before");
    EXPECT_EQ(directory.entries(), 1U);
  }
}

TEST(OutputFile, WorksWhereFilesHaveANameFromTheStart) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  const Child child([&] {
    if (!forget_unnamed_files() || has_unnamed_files(directory)) return false;
    OutputFile file(path);
    file.write("aft");
    EXPECT_EQ(directory.entries(), 2U);
    { OutputFile(path).write("given up"); }
    EXPECT_EQ(directory.entries(), 2U);
    file.write("er");
    EXPECT_EQ(contents_of(path), "before");
    file.commit();
    return true;
  });
  EXPECT_EQ(child.end(), 0);
  EXPECT_EQ(contents_of(path), "after");
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, AHandlerRemovesFilesThatHaveANameFromTheStart) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  const auto with_handler = [] {
    std::signal(SIGTERM, remove_and_end);
    return forget_unnamed_files();
  };
  EXPECT_EQ(start_writing(path, with_handler).end_by(SIGTERM), SIGTERM);
  EXPECT_EQ(contents_of(path), "before");
  EXPECT_EQ(directory.entries(), 1U);
  // No handler runs at this one: the file that stays shows that there was something to remove.
  EXPECT_EQ(start_writing(path, with_handler).end_by(SIGKILL), SIGKILL);
  EXPECT_EQ(directory.entries(), 2U);
}

TEST(OutputFile, AHandlerRemovesTheFilesOfItsOwnProcessOnly) {
  const TemporaryDirectory directory;
  const Child child([&] {
    if (!forget_unnamed_files()) return false;
    std::filesystem::current_path(directory.path());
    OutputFile mine("out");
    const Child grandchild([] {
      remove_temporary_files_now();
      return true;
    });
    EXPECT_EQ(grandchild.end(), 0);
    EXPECT_EQ(directory.entries(), 1U);
    std::filesystem::current_path("/");
    // More than there are slots for: some have none, but the first one has.
    std::vector<std::unique_ptr<OutputFile>> more;
    while (more.size() < 100) more.push_back(std::make_unique<OutputFile>(directory / std::to_string(more.size())));
    remove_temporary_files_now();
    EXPECT_LT(directory.entries(), 101U);
    more.clear();
    EXPECT_EQ(directory.entries(), 0U);
    expect_error([&] { mine.commit(); }, {"out: cannot rename"});
    return true;
  });
  EXPECT_EQ(child.end(), 0);
  EXPECT_EQ(directory.entries(), 0U);
}

TEST(OutputFile, TakesAnyNumberOneAfterTheOther) {
  const TemporaryDirectory directory;
  const Child child([&] {
    if (!forget_unnamed_files()) return false;
    for (int round = 0; round < 40; ++round) {
      OutputFile(directory / "given-up").write("bytes");
      OutputFile file(directory / "out");
      file.commit();
    }
    const OutputFile last(directory / "out");  // has a slot, as all before have given theirs back
    remove_temporary_files_now();
    EXPECT_EQ(directory.entries(), 1U);
    return true;
  });
  EXPECT_EQ(child.end(), 0);
}

}  // namespace
}  // namespace weir

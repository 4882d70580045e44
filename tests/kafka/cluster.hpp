#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace weir::testing_support {

/// The program mock_cluster in a process of its own, until the object ends.
class Cluster {
 public:
  explicit Cluster(int brokers = 1) {
    int to[2];
    int from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    child_ = fork();
    if (child_ < 0) throw std::runtime_error("no process");
    if (child_ == 0) {
      dup2(to[0], STDIN_FILENO);
      dup2(from[1], STDOUT_FILENO);
      execl(WEIR_MOCK_CLUSTER, WEIR_MOCK_CLUSTER, std::to_string(brokers).c_str(), nullptr);
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    commands_ = fdopen(to[1], "w");
    answers_ = fdopen(from[0], "r");
    brokers_ = line();
  }
  ~Cluster() {
    fclose(commands_);
    fclose(answers_);
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] const std::string& brokers() const { return brokers_; }
  void command(const std::string& text) {
    std::fprintf(commands_, "%s\n", text.c_str());
    std::fflush(commands_);
    if (const std::string answer = line(); answer != "ok") throw std::runtime_error(text + ": " + answer);
  }

 private:
  std::string line() {
    std::string text;
    for (int c = std::fgetc(answers_); c != '\n'; c = std::fgetc(answers_)) {
      if (c == EOF) throw std::runtime_error("mock_cluster ended");
      text += static_cast<char>(c);
    }
    return text;
  }

  pid_t child_ = -1;
  FILE* commands_ = nullptr;
  FILE* answers_ = nullptr;
  std::string brokers_;
};

}  // namespace weir::testing_support

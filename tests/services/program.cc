#include "tests/services/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>

namespace kvasir::testing {
namespace {

constexpr std::chrono::seconds kPatience(30);

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Program::Program(const std::string& name, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment, const std::string& input) {
  std::vector<std::string> command = {(std::filesystem::path(KVASIR_BIN_DIR) / name).string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.emplace_back(*variable);
  }

  int given[2], output[2], error[2];
  if (pipe2(given, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0 ||
      pipe2(error, O_CLOEXEC) != 0) {
    std::abort();
  }
  EXPECT_EQ(write(given[1], input.data(), input.size()), static_cast<ssize_t>(input.size()));
  close(given[1]);
  const std::vector<char*> words = Pointers(command), values = Pointers(variables);
  EXPECT_EQ(access(words[0], X_OK), 0) << command[0];
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(given[0], STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    dup2(error[1], STDERR_FILENO);
    execve(words[0], words.data(), values.data());
    _exit(127);
  }
  close(given[0]);
  close(output[1]);
  close(error[1]);
  output_fd_ = output[0];
  error_fd_ = error[0];
}

Program::~Program() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (int fd : {output_fd_, error_fd_}) {
    if (fd >= 0) close(fd);
  }
}

bool Program::FindLine(const std::string& prefix, std::string& rest) const {
  for (size_t begin = 0, end = 0; (end = output_.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    if (output_.compare(begin, prefix.size(), prefix) != 0) continue;
    rest = output_.substr(begin + prefix.size(), end - begin - prefix.size());
    return true;
  }
  return false;
}

void Program::ReadUntil(const std::function<bool()>& enough) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (output_fd_ >= 0 || error_fd_ >= 0) {
    if (enough()) return;
    if (std::chrono::steady_clock::now() > until) {
      ADD_FAILURE() << "the program goes on for too long\n" << output_ << error_;
      return;
    }
    pollfd ready[] = {{output_fd_, POLLIN, 0}, {error_fd_, POLLIN, 0}};
    poll(ready, 2, 100);
    for (int i = 0; i < 2; ++i) {
      if (ready[i].revents == 0) continue;
      int& fd = i == 0 ? output_fd_ : error_fd_;
      char buffer[4096];
      const ssize_t got = read(fd, buffer, sizeof buffer);
      if (got > 0) {
        (i == 0 ? output_ : error_).append(buffer, static_cast<size_t>(got));
      } else {
        close(fd);
        fd = -1;
      }
    }
  }
}

std::string Program::AwaitLine(const std::string& prefix) {
  std::string rest;
  ReadUntil([&] { return FindLine(prefix, rest); });
  EXPECT_TRUE(FindLine(prefix, rest)) << "no '" << prefix << "' in:\n" << output_ << error_;
  return rest;
}

void Program::AwaitOutput() {
  ReadUntil([&] { return !output_.empty(); });
  EXPECT_NE(output_, "") << error_;
}

void Program::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

int Program::Wait() {
  ReadUntil([] { return false; });
  if (output_fd_ >= 0 || error_fd_ >= 0) kill(pid_, SIGKILL);  // it goes on for too long
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace kvasir::testing

#ifndef KVASIR_TESTS_SERVICES_PROGRAM_H_
#define KVASIR_TESTS_SERVICES_PROGRAM_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace kvasir::testing {

// A program, run as its own process; killed with the object, and with the thread that made it, so
// that none survives a test that has crashed.
class Program {
 public:
  // `name`: one of ours, or another one's absolute path. `environment`: NAME=VALUE, added to ours.
  // `input`: all of stdin, at most what a pipe holds.
  Program(const std::string& name, const std::vector<std::string>& arguments,
          const std::vector<std::string>& environment = {}, const std::string& input = "");
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // What follows `prefix` in the first line of stdout that begins with it; empty, and a failure,
  // where stdout ends or 30 seconds pass before.
  std::string AwaitLine(const std::string& prefix);
  // Waits for anything on stdout.
  void AwaitOutput();
  void Signal(int signal);
  pid_t pid() const { return pid_; }
  // Waits for the end. The exit code; minus the signal's number where one killed it.
  int Wait();
  // All of it, once Wait has returned.
  const std::string& standard_output() const { return output_; }
  const std::string& standard_error() const { return error_; }

 private:
  // Reads what there is until `enough` says so, or all is read.
  void ReadUntil(const std::function<bool()>& enough);
  bool FindLine(const std::string& prefix, std::string& rest) const;

  pid_t pid_ = -1;
  int output_fd_ = -1, error_fd_ = -1;
  std::string output_, error_;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_PROGRAM_H_

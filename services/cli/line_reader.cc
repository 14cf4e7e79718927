#include "services/cli/line_reader.h"

#include <editline/readline.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "services/cli/interrupts.h"

namespace kvasir::cli {
namespace {

// What libedit's callback, which carries no argument, has read.
struct {
  bool done = false;
  std::optional<std::string> line;  // nothing: end of input
} typed;

void OnLine(char* line) {
  typed.done = true;
  if (line != nullptr) typed.line = line;
  std::free(line);
}

}  // namespace

LineReader::LineReader() : terminal_(isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0) {
  // Characters, not bytes, are edited.
  if (terminal_ && (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1)) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
}

LineReader::Outcome LineReader::Read(const std::string& prompt, std::string& line) {
  return terminal_ ? ReadFromTerminal(prompt, line) : ReadFromPipe(line);
}

LineReader::Outcome LineReader::ReadFromPipe(std::string& line) {
  while (true) {
    if (const size_t end = pending_.find('\n'); end != std::string::npos) {
      line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return Outcome::kLine;
    }
    pollfd inputs[] = {{STDIN_FILENO, POLLIN, 0}, {Interrupts::Get().descriptor(), POLLIN, 0}};
    if (poll(inputs, 2, -1) < 0) continue;
    if (inputs[1].revents != 0) return Outcome::kInterrupted;
    char buffer[4096];
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got > 0) {
      pending_.append(buffer, got);
    } else if (got == 0 || errno != EINTR) {
      if (pending_.empty()) return Outcome::kEnd;
      pending_ += '\n';  // The last line may lack it.
    }
  }
}

LineReader::Outcome LineReader::ReadFromTerminal(const std::string& prompt, std::string& line) {
  typed = {};
  rl_callback_handler_install(prompt.c_str(), OnLine);
  bool interrupted = false;
  while (!typed.done && !interrupted) {
    pollfd inputs[] = {{STDIN_FILENO, POLLIN, 0}, {Interrupts::Get().descriptor(), POLLIN, 0}};
    if (poll(inputs, 2, -1) < 0) continue;
    interrupted = (inputs[1].revents & POLLIN) != 0;
    if (!interrupted && inputs[0].revents != 0) rl_callback_read_char();
  }
  rl_callback_handler_remove();
  if (interrupted || !typed.line.has_value()) {
    std::fputs("\n", stdout);
    std::fflush(stdout);
    return interrupted ? Outcome::kInterrupted : Outcome::kEnd;
  }
  line = *typed.line;
  if (!line.empty()) add_history(line.c_str());
  return Outcome::kLine;
}

}  // namespace kvasir::cli

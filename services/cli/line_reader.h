#ifndef KVASIR_SERVICES_CLI_LINE_READER_H_
#define KVASIR_SERVICES_CLI_LINE_READER_H_

#include <string>

namespace kvasir::cli {

// Lines from stdin: with a prompt, editing and history where that is a terminal, plain where it is
// not.
class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted };

  LineReader();

  bool terminal() const { return terminal_; }
  // Leaves the terminal as it was. Interrupted: Ctrl-C came, see Interrupts.
  Outcome Read(const std::string& prompt, std::string& line);

 private:
  Outcome ReadFromTerminal(const std::string& prompt, std::string& line);
  Outcome ReadFromPipe(std::string& line);

  const bool terminal_;
  std::string pending_;  // Read from a pipe, after the lines that were returned.
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_LINE_READER_H_

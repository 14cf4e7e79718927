#ifndef KVASIR_SERVICES_CLI_LINE_READER_H_
#define KVASIR_SERVICES_CLI_LINE_READER_H_

#include <histedit.h>

#include <deque>
#include <memory>
#include <string>

namespace kvasir::cli {

// Messages from stdin: with a prompt, editing and history where that is a terminal, plain where it
// is not. A message is a line, or the lines between two that hold only """. On a terminal Alt-Enter
// begins a new line within a message, and what is pasted stays one message.
class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted };

  // `history_file`: what was typed in earlier chats, and will be found in later ones; empty: none.
  explicit LineReader(std::string history_file);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool terminal() const { return terminal_; }
  // Leaves the terminal as it was. Interrupted: Ctrl-C came, see Interrupts; on a terminal
  // `message` is what had been typed.
  Outcome Read(const std::string& prompt, std::string& message);
  // The next message starts out as this. For a terminal.
  void Prefill(const std::string& text);

 private:
  Outcome ReadLine(const std::string& prompt, std::string& line);
  Outcome ReadFromTerminal(const std::string& prompt, std::string& line);
  Outcome ReadFromPipe(std::string& line);

  void OpenEditor();
  // For libedit: the next character; -1: Ctrl-C, 0: the end.
  static int NextCharacter(EditLine* editor, wchar_t* character);
  int NextCharacter(wchar_t* character);
  // The next byte: -1: Ctrl-C, 0: the end (or, within `wait_milliseconds`, nothing), 1: there is.
  int NextByte(unsigned char* byte, int wait_milliseconds = -1);
  // After ESC: what the terminal says of what it pastes, and Alt-Enter.
  int AfterEscape(wchar_t* character);
  int ReadPaste();
  // The character that begins with `lead`.
  int Decode(unsigned char lead, wchar_t* character);

  const bool terminal_;
  std::string pending_;  // Read from a pipe, after the lines that were returned.

  const std::string history_file_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  std::deque<unsigned char> bytes_;  // Read too far, and to be read again.
  std::deque<wchar_t> characters_;   // To be given to the editor.
  bool interrupted_ = false;
  std::string cut_line_;  // What had been typed then.
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_LINE_READER_H_

#ifndef KVASIR_SERVICES_CLI_MARKDOWN_COLOURS_H_
#define KVASIR_SERVICES_CLI_MARKDOWN_COLOURS_H_

#include <string>
#include <string_view>

namespace kvasir::cli {

// Colours Markdown for a terminal as it comes, and changes not a character of it: headings and
// **strong** bold, `code` and fenced blocks in a colour of their own.
class MarkdownColours {
 public:
  // The text with escape sequences. A few characters may be held back until it is known what they
  // are.
  std::string Paint(std::string_view text);
  // What was held back, and the end of all colours. The next text is a new one.
  std::string Finish();

 private:
  void Take(char c, std::string& out);
  // The run of marks that was held back is complete.
  void TakeMarks(std::string& out);
  // Switches to the colours of the state.
  void Repaint(std::string& out);

  std::string marks_;  // `, * or # that may still become more.
  bool line_starts_ = true;
  bool heading_ = false;
  bool strong_ = false;
  bool code_ = false;
  bool fenced_ = false;
  bool fence_line_ = false;  // The line that opens or closes a fenced block.
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_MARKDOWN_COLOURS_H_

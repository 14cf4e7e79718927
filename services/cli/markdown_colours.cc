#include "services/cli/markdown_colours.h"

#include <utility>

namespace kvasir::cli {
namespace {

constexpr std::string_view kPlain = "\033[0m", kBold = "\033[1m", kCode = "\033[36m";

bool IsMark(char c) { return c == '`' || c == '*' || c == '#'; }

}  // namespace

std::string MarkdownColours::Paint(std::string_view text) {
  std::string out;
  for (const char c : text) Take(c, out);
  return out;
}

std::string MarkdownColours::Finish() {
  std::string out;
  TakeMarks(out);
  *this = MarkdownColours();
  out += kPlain;
  return out;
}

void MarkdownColours::Take(char c, std::string& out) {
  if (!marks_.empty() && c != marks_[0]) TakeMarks(out);
  if (IsMark(c)) {
    marks_ += c;
    return;
  }
  if (c == '\n') {
    const bool coloured = heading_ || strong_ || code_ || fence_line_;
    heading_ = strong_ = code_ = fence_line_ = false;
    if (coloured && !fenced_) out += kPlain;
    out += c;
    line_starts_ = true;
    return;
  }
  out += c;
  if (c != ' ') line_starts_ = false;
}

void MarkdownColours::TakeMarks(std::string& out) {
  const std::string marks = std::exchange(marks_, "");
  if (marks.empty()) return;
  const bool starts_line = std::exchange(line_starts_, false);
  const bool fence = marks[0] == '`' && marks.size() >= 3 && starts_line;
  const bool heading = marks[0] == '#' && marks.size() <= 6 && starts_line;
  const bool code = marks == "`";
  const bool strong = marks == "**" && !code_;
  // The marks are of the colour of what they enclose.
  if (fence) {
    if (!fenced_) out += kCode;
    fenced_ = !fenced_;
    fence_line_ = true;
    out += marks;
  } else if (fenced_ || !(heading || code || strong)) {
    out += marks;
  } else {
    const bool ends = (code && code_) || (strong && strong_);
    heading_ = heading_ || heading;
    code_ = code_ != code;
    strong_ = strong_ != strong;
    if (ends) out += marks;
    Repaint(out);
    if (!ends) out += marks;
  }
}

void MarkdownColours::Repaint(std::string& out) {
  out += kPlain;
  if (heading_ || strong_) out += kBold;
  if (code_) out += kCode;
}

}  // namespace kvasir::cli

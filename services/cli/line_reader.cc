#include "services/cli/line_reader.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <filesystem>
#include <utility>

#include "services/cli/interrupts.h"

namespace kvasir::cli {
namespace {

// The editor has one line: what ends a line within it, and a tab, are shown as these.
constexpr wchar_t kNewline = L'\u23CE';
constexpr std::string_view kNewlineText = "\u23CE", kTabText = "\u21E5";
constexpr std::string_view kBlock = "\"\"\"";
constexpr std::string_view kPasteBegins = "[200~", kPasteEnds = "\033[201~";
constexpr int kHistorySize = 1000;
// What follows ESC in one key comes with it; a person's next key does not.
constexpr int kEscapeMilliseconds = 50;

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

LineReader::LineReader(std::string history_file)
    : terminal_(isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0),
      history_file_(std::move(history_file)) {
  if (terminal_) OpenEditor();
}

LineReader::~LineReader() {
  if (editor_ == nullptr) return;
  HistEvent event;
  if (!history_file_.empty()) {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(history_file_).parent_path(),
                                        ignored);
    const mode_t mask = umask(077);  // It is nobody else's to read.
    history(history_, &event, H_SAVE, history_file_.c_str());
    umask(mask);
  }
  history_end(history_);
  el_end(editor_);
}

void LineReader::OpenEditor() {
  // Characters, not bytes, are edited.
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  history_ = history_init();
  HistEvent event;
  history(history_, &event, H_SETSIZE, kHistorySize);
  history(history_, &event, H_SETUNIQUE, 1);
  if (!history_file_.empty()) history(history_, &event, H_LOAD, history_file_.c_str());
  editor_ = el_init("kvasir", stdin, stdout, stderr);
  el_set(editor_, EL_CLIENTDATA, this);
  el_set(
      editor_, EL_PROMPT_ESC,
      +[](EditLine* editor) {
        LineReader* reader = nullptr;
        el_get(editor, EL_CLIENTDATA, &reader);
        return reader->prompt_.data();
      },
      '\1');
  el_set(editor_, EL_EDITOR, "emacs");
  el_set(editor_, EL_HIST, history, history_);
  el_set(editor_, EL_GETCFN, static_cast<int (*)(EditLine*, wchar_t*)>(&LineReader::NextCharacter));
  el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineReader::Outcome LineReader::Read(const std::string& prompt, std::string& message) {
  const Outcome outcome = ReadLine(prompt, message);
  if (outcome != Outcome::kLine || message != kBlock) return outcome;
  message.clear();
  std::string line;
  for (bool first = true;; first = false) {
    const Outcome next = ReadLine("... ", line);
    if (next == Outcome::kInterrupted) return next;
    if (next == Outcome::kEnd || line == kBlock) return Outcome::kLine;
    message += (first ? "" : "\n") + line;
  }
}

void LineReader::Prefill(const std::string& text) {
  std::string line = text;
  ReplaceAll(line, "\n", kNewlineText);
  ReplaceAll(line, "\t", kTabText);
  bytes_.assign(line.begin(), line.end());
}

LineReader::Outcome LineReader::ReadLine(const std::string& prompt, std::string& line) {
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
  prompt_ = prompt;
  interrupted_ = false;
  el_resize(editor_);
  std::fputs("\033[?2004h", stdout);  // The terminal marks what it pastes.
  std::fflush(stdout);
  int count = 0;
  const char* typed = el_gets(editor_, &count);
  std::fputs("\033[?2004l", stdout);
  if (interrupted_ || typed == nullptr || count <= 0) {
    line = std::exchange(cut_line_, "");
    if (interrupted_) el_reset(editor_);
    std::fputs("\n", stdout);
    std::fflush(stdout);
    return interrupted_ ? Outcome::kInterrupted : Outcome::kEnd;
  }
  std::fflush(stdout);
  line = typed;
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  HistEvent event;
  if (!line.empty()) history(history_, &event, H_ENTER, line.c_str());
  ReplaceAll(line, kNewlineText, "\n");
  ReplaceAll(line, kTabText, "\t");
  return Outcome::kLine;
}

int LineReader::NextCharacter(EditLine* editor, wchar_t* character) {
  LineReader* reader = nullptr;
  el_get(editor, EL_CLIENTDATA, &reader);
  return reader->NextCharacter(character);
}

int LineReader::NextCharacter(wchar_t* character) {
  if (characters_.empty()) {
    unsigned char byte = 0;
    const int got = NextByte(&byte);
    if (got != 1) return got;
    if (byte != '\033') return Decode(byte, character);
    const int escaped = AfterEscape(character);
    if (escaped != 1 || characters_.empty()) return escaped;
  }
  *character = characters_.front();
  characters_.pop_front();
  return 1;
}

int LineReader::NextByte(unsigned char* byte, int wait_milliseconds) {
  if (!bytes_.empty()) {
    *byte = bytes_.front();
    bytes_.pop_front();
    return 1;
  }
  while (true) {
    pollfd inputs[] = {{STDIN_FILENO, POLLIN, 0}, {Interrupts::Get().descriptor(), POLLIN, 0}};
    const int ready = poll(inputs, 2, wait_milliseconds);
    if (ready < 0) continue;
    if (ready == 0) return 0;
    if ((inputs[1].revents & POLLIN) != 0) {
      interrupted_ = true;
      const LineInfo* typed = el_line(editor_);
      cut_line_.assign(typed->buffer, typed->lastchar);
      return -1;
    }
    const ssize_t got = read(STDIN_FILENO, byte, 1);
    if (got >= 0 || errno != EINTR) return got == 1 ? 1 : 0;
  }
}

int LineReader::AfterEscape(wchar_t* character) {
  *character = L'\033';
  std::string seen;
  while (seen.size() < kPasteBegins.size()) {
    unsigned char byte = 0;
    const int got = NextByte(&byte, kEscapeMilliseconds);
    if (got < 0) return got;
    if (got == 0) break;
    seen += static_cast<char>(byte);
    if (seen == "\r" || seen == "\n") {
      *character = kNewline;
      return 1;
    }
    if (!kPasteBegins.starts_with(seen)) break;
  }
  if (seen == kPasteBegins) return ReadPaste();
  bytes_.insert(bytes_.begin(), seen.begin(), seen.end());
  return 1;
}

int LineReader::ReadPaste() {
  std::string pasted;
  while (!pasted.ends_with(kPasteEnds)) {
    unsigned char byte = 0;
    const int got = NextByte(&byte);
    if (got != 1) return got;
    pasted += static_cast<char>(byte);
  }
  pasted.resize(pasted.size() - kPasteEnds.size());
  ReplaceAll(pasted, "\r\n", "\n");
  ReplaceAll(pasted, "\r", "\n");
  while (!pasted.empty() && pasted.back() == '\n') pasted.pop_back();
  ReplaceAll(pasted, "\n", kNewlineText);
  ReplaceAll(pasted, "\t", kTabText);
  std::erase_if(pasted, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
  bytes_.insert(bytes_.begin(), pasted.begin(), pasted.end());
  wchar_t first = 0;
  const int got = NextCharacter(&first);
  if (got == 1) characters_.push_front(first);
  return got;
}

int LineReader::Decode(unsigned char lead, wchar_t* character) {
  std::mbstate_t state = {};
  unsigned char byte = lead;
  while (true) {
    const char piece = static_cast<char>(byte);
    const size_t used = std::mbrtowc(character, &piece, 1, &state);
    if (used == static_cast<size_t>(-1)) {  // No text in this encoding.
      *character = L'\uFFFD';
      return 1;
    }
    if (used != static_cast<size_t>(-2)) return 1;
    const int got = NextByte(&byte);
    if (got != 1) return got;
  }
}

}  // namespace kvasir::cli

#include "tokenizer/jinja/time_format.h"

#include <string>

#include "tokenizer/jinja/error.h"

namespace kvasir::jinja {

absl::StatusOr<Value> FormatTime(const Text& format, std::time_t time) {
  std::tm local = {};
  if (localtime_r(&time, &local) == nullptr) return Invalid({"'strftime_now': no such time"});
  // What datetime fills in by itself: a time of whole seconds that knows of no time zone.
  std::string filled;
  const std::string& bytes = format.bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char next = bytes[i] == '%' && i + 1 < bytes.size() ? bytes[i + 1] : '\0';
    if (next == 'f') {
      filled += "000000";
    } else if (next == '%') {
      filled += "%%";
    } else if (next != 'z' && next != 'Z') {
      filled += bytes[i];
      continue;
    }
    ++i;
  }
  if (filled.find('\0') != std::string::npos) {
    return Invalid({"'strftime_now': the format has a null character"});
  }
  filled += ' ';  // So that what is left empty differs from what has no room.
  char text[1024];
  const size_t size = std::strftime(text, sizeof(text), filled.c_str(), &local);
  if (size == 0) return Invalid({"'strftime_now': the text is too long"});
  const bool trusted = format.runs().size() == 1 && format.runs()[0].trusted;
  return Value(Text({text, size - 1}, trusted));
}

}  // namespace kvasir::jinja

#include "tokenizer/jinja/printing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/limits.h"

namespace kvasir::jinja {
namespace {

absl::Status CheckLength(const Text& out) {
  if (out.size() <= kMaxTextBytes) return absl::OkStatus();
  return Exhausted({"the text is longer than ", std::to_string(kMaxTextBytes), " bytes"});
}

bool HasText(const List& list) { return list.kind() == List::Kind::kList || list.is_tuple(); }

std::string Escaped(const char* format, uint32_t code) {
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), format, code);
  return buffer;
}

// Python's repr() of a string: the quotes, and what it escapes.
void AppendRepr(const Text& text, Text& out) {
  const bool double_quotes =
      text.bytes().find('\'') != std::string::npos && text.bytes().find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  if (text.is_markup()) out.Append("Markup(", true);
  out.Append(std::string(1, quote), true);
  out.Append(text.MapRuns([&](std::string_view run) {
    std::string escaped;
    for (size_t at = 0; at < run.size();) {
      const std::string_view character = run.substr(at, CharacterBytes(run, at));
      at += character.size();
      const char c = character[0];
      const uint32_t code = CodePoint(character);
      if (c == '\\' || c == quote) {
        escaped += '\\';
        escaped += c;
      } else if (c == '\n') {
        escaped += "\\n";
      } else if (c == '\r') {
        escaped += "\\r";
      } else if (c == '\t') {
        escaped += "\\t";
      } else if (c == ' ' || IsPrintable(code)) {
        escaped += character;
      } else {
        escaped += Escaped(code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
      }
    }
    return escaped;
  }));
  out.Append(std::string(1, quote), true);
  if (text.is_markup()) out.Append(")", true);
}

absl::Status AppendValue(const Value& value, bool quoted, Text& out);

absl::Status AppendList(const List& list, Text& out) {
  out.Append(list.is_tuple() ? "(" : "[", true);
  bool first = true;
  for (const Value& item : list.items()) {
    if (!std::exchange(first, false)) out.Append(", ", true);
    KVASIR_JINJA_RETURN_IF_ERROR(AppendValue(item, /*quoted=*/true, out));
  }
  if (list.is_tuple() && list.size() == 1) out.Append(",", true);
  out.Append(list.is_tuple() ? ")" : "]", true);
  return absl::OkStatus();
}

absl::Status AppendDict(const Dict& dict, Text& out) {
  out.Append("{", true);
  bool first = true;
  for (const Dict::Entry& entry : dict.entries()) {
    if (!std::exchange(first, false)) out.Append(", ", true);
    AppendRepr(*entry.key, out);
    out.Append(": ", true);
    KVASIR_JINJA_RETURN_IF_ERROR(AppendValue(entry.value, /*quoted=*/true, out));
  }
  out.Append("}", true);
  return absl::OkStatus();
}

absl::Status AppendValue(const Value& value, bool quoted, Text& out) {
  if (const Text* text = value.text()) {
    if (quoted) {
      AppendRepr(*text, out);
    } else {
      out.Append(*text);
    }
  } else if (value.is_undefined()) {
    if (quoted) out.Append("Undefined", true);
  } else if (value.is_none()) {
    out.Append("None", true);
  } else if (value.is_bool()) {
    out.Append(value.truth() ? "True" : "False", true);
  } else if (value.is_int()) {
    out.Append(std::to_string(value.integer()), true);
  } else if (value.is_float()) {
    out.Append(FloatText(value.real()), true);
  } else if (const List* list = value.list(); list != nullptr && HasText(*list)) {
    KVASIR_JINJA_RETURN_IF_ERROR(AppendList(*list, out));
  } else if (const Dict* dict = value.dict()) {
    KVASIR_JINJA_RETURN_IF_ERROR(AppendDict(*dict, out));
  } else {
    return Invalid({"a ", value.type_name(), " has no text"});
  }
  return CheckLength(out);
}

// Python's json.dumps, one value into another.
class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Text& out) : style_(style), out_(out) {}

  absl::Status Write(const Value& value);

 private:
  void WriteString(const Text& text);
  absl::Status WriteList(const List& list);
  absl::Status WriteDict(const Dict& dict);
  void NewLine() {
    if (style_.indent < 0) return;
    out_.Append("\n" + std::string(static_cast<size_t>(style_.indent) * level_, ' '), true);
  }

  const JsonStyle& style_;
  Text& out_;
  int level_ = 0;
};

absl::Status JsonWriter::Write(const Value& value) {
  if (const Text* text = value.text()) {
    WriteString(*text);
  } else if (value.is_none()) {
    out_.Append("null", true);
  } else if (value.is_bool()) {
    out_.Append(value.truth() ? "true" : "false", true);
  } else if (value.is_int()) {
    out_.Append(std::to_string(value.integer()), true);
  } else if (value.is_float()) {
    const double real = value.real();
    out_.Append(std::isnan(real)   ? "NaN"
                : std::isinf(real) ? (real > 0 ? "Infinity" : "-Infinity")
                                   : FloatText(real),
                true);
  } else if (const List* list = value.list(); list != nullptr && HasText(*list)) {
    KVASIR_JINJA_RETURN_IF_ERROR(WriteList(*list));
  } else if (const Dict* dict = value.dict()) {
    KVASIR_JINJA_RETURN_IF_ERROR(WriteDict(*dict));
  } else if (value.is_undefined()) {
    return Invalid({value.why(), " (in tojson)"});
  } else {
    return Invalid({"a ", value.type_name(), " has no JSON"});
  }
  return CheckLength(out_);
}

void JsonWriter::WriteString(const Text& text) {
  out_.Append("\"", true);
  out_.Append(text.MapRuns([&](std::string_view run) {
    std::string escaped;
    for (size_t at = 0; at < run.size();) {
      const size_t bytes = CharacterBytes(run, at);
      const std::string_view character = run.substr(at, bytes);
      at += bytes;
      const uint32_t code = CodePoint(character);
      constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
      constexpr std::string_view kLetter = "\"\\bfnrt";
      if (const size_t i = kShort.find(character[0]); i != std::string_view::npos) {
        escaped += '\\';
        escaped += kLetter[i];
      } else if (code < 0x20 || (style_.ensure_ascii && code > 0x7e && code < 0x10000)) {
        escaped += Escaped("\\u%04x", code);
      } else if (style_.ensure_ascii && code >= 0x10000) {
        escaped += Escaped("\\u%04x", 0xd800 + ((code - 0x10000) >> 10));
        escaped += Escaped("\\u%04x", 0xdc00 + ((code - 0x10000) & 0x3ff));
      } else {
        escaped += character;
      }
    }
    return escaped;
  }));
  out_.Append("\"", true);
}

absl::Status JsonWriter::WriteList(const List& list) {
  out_.Append("[", true);
  ++level_;
  bool first = true;
  for (const Value& item : list.items()) {
    if (!std::exchange(first, false)) out_.Append(style_.item_separator, true);
    NewLine();
    KVASIR_JINJA_RETURN_IF_ERROR(Write(item));
  }
  --level_;
  if (!first) NewLine();
  out_.Append("]", true);
  return absl::OkStatus();
}

absl::Status JsonWriter::WriteDict(const Dict& dict) {
  std::vector<const Dict::Entry*> entries;
  for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
  if (style_.sort_keys) {
    std::sort(entries.begin(), entries.end(), [](const Dict::Entry* a, const Dict::Entry* b) {
      return a->key->bytes() < b->key->bytes();
    });
  }
  out_.Append("{", true);
  ++level_;
  bool first = true;
  for (const Dict::Entry* entry : entries) {
    if (!std::exchange(first, false)) out_.Append(style_.item_separator, true);
    NewLine();
    WriteString(*entry->key);
    out_.Append(style_.key_separator, true);
    KVASIR_JINJA_RETURN_IF_ERROR(Write(entry->value));
  }
  --level_;
  if (!first) NewLine();
  out_.Append("}", true);
  return absl::OkStatus();
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const auto fixed_end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed).ptr;
  std::string fixed(buffer, fixed_end);
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

absl::StatusOr<Text> ToText(const Value& value) {
  if (value.text() != nullptr) return *value.text();
  Text text;
  KVASIR_JINJA_RETURN_IF_ERROR(AppendValue(value, /*quoted=*/false, text));
  return text;
}

absl::StatusOr<Text> ToJson(const Value& value, const JsonStyle& style) {
  Text text;
  KVASIR_JINJA_RETURN_IF_ERROR(JsonWriter(style, text).Write(value));
  return text;
}

}  // namespace kvasir::jinja

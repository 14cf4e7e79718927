#include "tokenizer/jinja/lexer.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "tokenizer/jinja/characters.h"

namespace kvasir::jinja {
namespace {

// Jinja reads every kind of line end as "\n", and drops one at the end of the template.
std::string NormaliseNewlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool IsNameStart(char c) { return IsAsciiLetter(c) || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsAsciiDigit(c); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormaliseNewlines(source)), text_(source_) {}

  absl::StatusOr<std::vector<Token>> Run();

 private:
  // Moves on to `offset`, counting lines.
  void Advance(size_t offset);
  void Add(Token::Kind kind, std::string text, Position at);
  bool LooksAt(std::string_view word) const { return text_.substr(offset_, word.size()) == word; }
  size_t SkipSpace(size_t offset) const;

  // The data before the tag that opens at `tag` (with sign `-`, `+` or 0), as far as white space
  // control leaves it.
  std::string_view DataBefore(size_t tag, char sign, bool is_variable) const;
  // Steps over the end of a tag, of whose "}" `offset_` is past, and over the space it swallows.
  void AfterTag(bool strip, bool trim);

  absl::Status Comment();
  // Whether the block tag at offset_ is {% raw %}; if so, reads up to the end of {% endraw %}.
  absl::StatusOr<bool> Raw();
  absl::Status Tag(bool is_variable);
  absl::Status Inner();
  absl::Status String();
  absl::Status Number();
  absl::Status Operator();

  std::string source_;
  std::string_view text_;
  size_t offset_ = 0;
  Position at_;
  bool line_starts_ = true;  // Whether the text at offset_ begins a line for lstrip_blocks.
  std::vector<char> open_brackets_;
  std::vector<Token> tokens_;
};

void Lexer::Advance(size_t offset) {
  for (; offset_ < offset; ++offset_) {
    if (text_[offset_] == '\n') {
      ++at_.line;
      at_.column = 1;
    } else {
      ++at_.column;
    }
  }
}

void Lexer::Add(Token::Kind kind, std::string text, Position at) {
  Token token;
  token.kind = kind;
  token.text = std::move(text);
  token.at = at;
  tokens_.push_back(std::move(token));
}

size_t Lexer::SkipSpace(size_t offset) const {
  while (offset < text_.size()) {
    const size_t bytes = CharacterBytes(text_, offset);
    if (!IsSpace(CodePoint(text_.substr(offset, bytes)))) break;
    offset += bytes;
  }
  return offset;
}

std::string_view Lexer::DataBefore(size_t tag, char sign, bool is_variable) const {
  const std::string_view data = text_.substr(offset_, tag - offset_);
  if (sign == '-') {
    size_t end = 0;  // Behind the last character that is no white space.
    for (size_t at = 0; at < data.size();) {
      const size_t bytes = CharacterBytes(data, at);
      if (!IsSpace(CodePoint(data.substr(at, bytes)))) end = at + bytes;
      at += bytes;
    }
    return data.substr(0, end);
  }
  if (sign == '+' || is_variable) return data;
  const size_t newline = data.rfind('\n');
  const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
  if (line == 0 && !line_starts_) return data;
  return SkipSpace(offset_ + line) >= tag ? data.substr(0, line) : data;
}

void Lexer::AfterTag(bool strip, bool trim) {
  const size_t tag_end = offset_;
  if (strip) {
    Advance(SkipSpace(offset_));
  } else if (trim && LooksAt("\n")) {
    Advance(offset_ + 1);
  }
  line_starts_ = offset_ > tag_end && text_[offset_ - 1] == '\n';
}

absl::StatusOr<std::vector<Token>> Lexer::Run() {
  while (offset_ < text_.size()) {
    size_t tag = offset_;  // The next "{{", "{%" or "{#".
    while (true) {
      tag = text_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= text_.size()) {
        tag = text_.size();
        break;
      }
      const char kind = text_[tag + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++tag;
    }
    if (tag == text_.size()) {
      const Position at = at_;
      const std::string_view data = text_.substr(offset_);
      Add(Token::Kind::kData, std::string(data), at);
      Advance(text_.size());
      break;
    }
    const char kind = text_[tag + 1];
    const char next = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    const std::string_view data = DataBefore(tag, sign, kind == '{');
    if (!data.empty()) Add(Token::Kind::kData, std::string(data), at_);
    Advance(tag);
    if (kind == '#') {
      KVASIR_JINJA_RETURN_IF_ERROR(Comment());
      continue;
    }
    if (kind == '%') {
      KVASIR_JINJA_ASSIGN_OR_RETURN(const bool raw, Raw());
      if (raw) continue;
    }
    Add(kind == '{' ? Token::Kind::kVariableBegin : Token::Kind::kBlockBegin,
        std::string(text_.substr(tag, 2)), at_);
    Advance(tag + 2 + (sign != '\0' ? 1 : 0));
    KVASIR_JINJA_RETURN_IF_ERROR(Tag(kind == '{'));
  }
  Add(Token::Kind::kEnd, "end of template", at_);
  return std::move(tokens_);
}

absl::Status Lexer::Comment() {
  size_t body = offset_ + 2;
  if (body < text_.size() && (text_[body] == '-' || text_[body] == '+')) ++body;
  const size_t end = text_.find("#}", body);
  if (end == std::string_view::npos) return At(at_, Invalid({"the comment is not closed"}));
  const char sign = end > body ? text_[end - 1] : '\0';
  Advance(end + 2);
  AfterTag(sign == '-', sign != '+');
  return absl::OkStatus();
}

absl::StatusOr<bool> Lexer::Raw() {
  const auto word_tag = [&](size_t at, std::string_view word, char& end_sign) -> size_t {
    at += 2;
    if (at < text_.size() && (text_[at] == '-' || text_[at] == '+')) ++at;
    at = SkipSpace(at);
    if (text_.substr(at, word.size()) != word) return 0;
    at = SkipSpace(at + word.size());
    end_sign = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at] : '\0';
    if (end_sign != '\0') ++at;
    return text_.substr(at, 2) == "%}" ? at + 2 : 0;
  };
  char sign = '\0';
  const size_t begin = word_tag(offset_, "raw", sign);
  if (begin == 0) return false;
  const Position at = at_;
  Advance(begin);
  AfterTag(sign == '-', false);
  for (size_t tag = text_.find("{%", offset_); tag != std::string_view::npos;
       tag = text_.find("{%", tag + 1)) {
    const size_t end = word_tag(tag, "endraw", sign);
    if (end == 0) continue;
    const char begin_sign = text_[tag + 2] == '-' || text_[tag + 2] == '+' ? text_[tag + 2] : '\0';
    const std::string_view data = DataBefore(tag, begin_sign, false);
    if (!data.empty()) Add(Token::Kind::kData, std::string(data), at_);
    Advance(end);
    AfterTag(sign == '-', sign != '+');
    return true;
  }
  return At(at, Invalid({"'raw' is not closed"}));
}

absl::Status Lexer::Tag(bool is_variable) {
  const Position opened = at_;
  const std::string_view close = is_variable ? "}}" : "%}";
  open_brackets_.clear();
  while (true) {
    Advance(SkipSpace(offset_));
    if (offset_ >= text_.size()) {
      return At(opened, Invalid({"the tag is not closed by '", close, "'"}));
    }
    if (open_brackets_.empty()) {
      const bool strip = LooksAt("-") && text_.substr(offset_ + 1, 2) == close;
      const bool keep = !is_variable && LooksAt("+") && text_.substr(offset_ + 1, 2) == close;
      if (strip || keep || LooksAt(close)) {
        Add(is_variable ? Token::Kind::kVariableEnd : Token::Kind::kBlockEnd, std::string(close),
            at_);
        Advance(offset_ + (strip || keep ? 3 : 2));
        AfterTag(strip, !is_variable && !keep);
        return absl::OkStatus();
      }
    }
    KVASIR_JINJA_RETURN_IF_ERROR(Inner());
  }
}

absl::Status Lexer::Inner() {
  const char c = text_[offset_];
  if (IsNameStart(c)) {
    size_t end = offset_;
    while (end < text_.size() && IsNamePart(text_[end])) ++end;
    Add(Token::Kind::kName, std::string(text_.substr(offset_, end - offset_)), at_);
    Advance(end);
    return absl::OkStatus();
  }
  if (IsAsciiDigit(c)) return Number();
  if (c == '\'' || c == '"') return String();
  return Operator();
}

absl::Status Lexer::Number() {
  size_t end = offset_;
  bool real = false;
  while (end < text_.size() && (IsAsciiDigit(text_[end]) || text_[end] == '_')) ++end;
  const auto digit_at = [&](size_t at) { return at < text_.size() && IsAsciiDigit(text_[at]); };
  if (end < text_.size() && text_[end] == '.' && digit_at(end + 1)) {
    real = true;
    ++end;
    while (end < text_.size() && (IsAsciiDigit(text_[end]) || text_[end] == '_')) ++end;
  }
  if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
    const bool has_sign =
        end + 1 < text_.size() && (text_[end + 1] == '-' || text_[end + 1] == '+');
    if (digit_at(end + (has_sign ? 2 : 1))) {
      real = true;
      end += has_sign ? 2 : 1;
      while (digit_at(end)) ++end;
    }
  }
  if (end < text_.size() && IsNamePart(text_[end])) {
    return At(at_, Invalid({"'", text_.substr(offset_, end + 1 - offset_), "' is no number"}));
  }
  std::string digits;
  for (char c : text_.substr(offset_, end - offset_)) {
    if (c != '_') digits += c;
  }
  Token token;
  token.text = digits;
  token.at = at_;
  token.kind = real ? Token::Kind::kFloat : Token::Kind::kInteger;
  const char* last = digits.data() + digits.size();
  const std::errc error = real ? std::from_chars(digits.data(), last, token.real).ec
                               : std::from_chars(digits.data(), last, token.integer).ec;
  if (error != std::errc()) return At(at_, Invalid({"the number ", digits, " is out of range"}));
  tokens_.push_back(std::move(token));
  Advance(end);
  return absl::OkStatus();
}

// Python's escapes; an unknown one keeps its backslash.
absl::Status Lexer::String() {
  const char quote = text_[offset_];
  const Position opened = at_;
  std::string value;
  size_t at = offset_ + 1;
  for (; at < text_.size() && text_[at] != quote; ++at) {
    if (text_[at] != '\\' || at + 1 >= text_.size()) {
      value += text_[at];
      continue;
    }
    const char escape = text_[++at];
    constexpr std::string_view kNames = "\\'\"abfnrtv";
    constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t index = kNames.find(escape); index != std::string_view::npos) {
      value += kValues[index];
    } else if (escape == '\n') {
      continue;
    } else if (escape == 'x' || escape == 'u' || escape == 'U') {
      const size_t digits = escape == 'x' ? 2 : escape == 'u' ? 4 : 8;
      const std::string_view hex = text_.substr(at + 1, digits);
      uint32_t code_point = 0;
      const auto parsed =
          std::from_chars(hex.data(), hex.data() + hex.size(), code_point, /*base=*/16);
      if (hex.size() < digits || parsed.ptr != hex.data() + hex.size() || code_point > 0x10ffff) {
        return At(opened, Invalid({"the string has a broken \\", std::string(1, escape)}));
      }
      AppendCharacter(code_point, value);
      at += digits;
    } else if (escape == 'N' || IsAsciiDigit(escape)) {
      return At(opened, Invalid({"the escape \\", std::string(1, escape),
                                 " is not supported in a string"}));
    } else {
      value += '\\';
      value += escape;
    }
  }
  if (at >= text_.size()) return At(opened, Invalid({"the string is not closed"}));
  Add(Token::Kind::kString, std::move(value), opened);
  Advance(at + 1);
  return absl::OkStatus();
}

absl::Status Lexer::Operator() {
  static constexpr std::string_view kOperators[] = {
      "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<",
      ">",  "=",  "(",  ")",  "[",  "]",  "{", "}", ",", ":", ".", "|"};
  for (std::string_view word : kOperators) {
    if (!LooksAt(word)) continue;
    const char c = word[0];
    if (c == '(' || c == '[' || c == '{') {
      open_brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open_brackets_.empty() || open_brackets_.back() != c) {
        return At(at_, Invalid({"unexpected '", word, "'"}));
      }
      open_brackets_.pop_back();
    }
    Add(Token::Kind::kOperator, std::string(word), at_);
    Advance(offset_ + word.size());
    return absl::OkStatus();
  }
  return At(at_, Invalid({"unexpected character '",
                          text_.substr(offset_, CharacterBytes(text_, offset_)), "'"}));
}

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace kvasir::jinja

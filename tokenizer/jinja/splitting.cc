#include "tokenizer/jinja/splitting.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/limits.h"

namespace kvasir::jinja {
namespace {

absl::Status TooMany() {
  return Exhausted({"more than ", std::to_string(kMaxListItems), " pieces of a text"});
}

struct Word {
  size_t begin = 0;
  size_t end = 0;
};

// What white space separates.
std::vector<Word> WordsOf(std::string_view text) {
  std::vector<Word> words;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharacterBytes(text, at);
    const bool is_space = IsSpace(CodePoint(text.substr(at, bytes)));
    if (!is_space && !in_word) words.push_back({at, at});
    at += bytes;
    if (!is_space) words.back().end = at;
    in_word = !is_space;
  }
  return words;
}

// At white space, up to `limit` times (negative: everywhere) from the left or the right.
absl::StatusOr<Value> SplitAtSpace(const Text& self, int64_t limit, bool from_right) {
  std::vector<Word> words = WordsOf(self.bytes());
  const auto count = static_cast<int64_t>(words.size());
  if (limit >= 0 && limit < count) {  // What is left is one piece, with the space inside it.
    if (from_right) {
      words.erase(words.begin(), words.end() - limit - 1);
      words.front().begin = 0;
    } else {
      words.resize(limit + 1);
      words.back().end = self.size();
    }
  }
  if (words.size() > kMaxListItems) return TooMany();
  std::vector<Value> pieces;
  for (const Word& word : words) pieces.emplace_back(self.Slice(word.begin, word.end));
  return Value(List(std::move(pieces)));
}

struct SplitArguments {
  const Text* separator = nullptr;  // Null: white space.
  int64_t limit = -1;
};

absl::StatusOr<SplitArguments> ReadArguments(std::string_view name,
                                             const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"sep", "maxsplit"}));
  SplitArguments read;
  if (!values[1].is_undefined()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(read.limit, IntegerArgument(name, "maxsplit", values[1]));
  }
  if (values[0].is_undefined() || values[0].is_none()) return read;
  KVASIR_JINJA_ASSIGN_OR_RETURN(read.separator, TextArgument(name, "sep", values[0]));
  if (read.separator->empty()) return Invalid({"'", name, "': sep must not be empty"});
  // The caller's `arguments` own it, not our copy of the values.
  return read;
}

// The text before `separator`, the separator, the text after it; where there is none, all of the
// text as the first of three, or, from the right, the last.
absl::StatusOr<Value> PartitionAt(const Text& self, std::string_view name,
                                  const ArgumentValues& arguments, bool from_right) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"sep"}, 1));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* separator, TextArgument(name, "sep", values[0]));
  if (separator->empty()) return Invalid({"'", name, "': sep must not be empty"});
  const size_t at =
      from_right ? self.bytes().rfind(separator->bytes()) : Find(self.bytes(), separator->bytes());
  std::vector<Value> pieces;
  if (at == std::string::npos) {
    pieces = {Value(self), Value(Text()), Value(Text())};
    if (from_right) std::swap(pieces[0], pieces[2]);
  } else {
    const size_t end = at + separator->size();
    pieces = {Value(self.Slice(0, at)), Value(self.Slice(at, end)),
              Value(self.Slice(end, self.size()))};
  }
  return Value(List(std::move(pieces), List::Kind::kTuple));
}

}  // namespace

absl::StatusOr<Value> Split(const Text& self, std::string_view name,
                            const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const SplitArguments read, ReadArguments(name, arguments));
  if (read.separator == nullptr) return SplitAtSpace(self, read.limit, /*from_right=*/false);
  std::vector<Value> pieces;
  size_t begin = 0;
  while (read.limit < 0 || static_cast<int64_t>(pieces.size()) < read.limit) {
    const size_t end = Find(self.bytes(), read.separator->bytes(), begin);
    if (end == std::string_view::npos) break;
    if (pieces.size() >= kMaxListItems) return TooMany();
    pieces.emplace_back(self.Slice(begin, end));
    begin = end + read.separator->size();
  }
  pieces.emplace_back(self.Slice(begin, self.size()));
  return Value(List(std::move(pieces)));
}

absl::StatusOr<Value> RightSplit(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const SplitArguments read, ReadArguments(name, arguments));
  if (read.separator == nullptr) return SplitAtSpace(self, read.limit, /*from_right=*/true);
  std::vector<Value> pieces;
  size_t end = self.size();
  while (end > 0 && (read.limit < 0 || static_cast<int64_t>(pieces.size()) < read.limit)) {
    if (read.separator->size() > end) break;
    const size_t at = self.bytes().rfind(read.separator->bytes(), end - read.separator->size());
    if (at == std::string::npos) break;
    if (pieces.size() >= kMaxListItems) return TooMany();
    pieces.emplace_back(self.Slice(at + read.separator->size(), end));
    end = at;
  }
  pieces.emplace_back(self.Slice(0, end));
  std::reverse(pieces.begin(), pieces.end());
  return Value(List(std::move(pieces)));
}

absl::StatusOr<Value> SplitLines(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"keepends"}));
  std::vector<Value> lines;
  const std::string& bytes = self.bytes();
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = CharacterBytes(bytes, at);
    const uint32_t code = CodePoint(std::string_view(bytes).substr(at, length));
    size_t next = at + length;
    if ((code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
        code == 0x2028 || code == 0x2029) {
      if (code == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
      if (lines.size() >= kMaxListItems) return TooMany();
      lines.emplace_back(self.Slice(begin, values[0].truth() ? next : at));
      begin = next;
    }
    at = next;
  }
  if (begin < bytes.size()) lines.emplace_back(self.Slice(begin, bytes.size()));
  return Value(List(std::move(lines)));
}

absl::StatusOr<Value> Partition(const Text& self, std::string_view name,
                                const ArgumentValues& arguments) {
  return PartitionAt(self, name, arguments, /*from_right=*/false);
}

absl::StatusOr<Value> RightPartition(const Text& self, std::string_view name,
                                     const ArgumentValues& arguments) {
  return PartitionAt(self, name, arguments, /*from_right=*/true);
}

}  // namespace kvasir::jinja

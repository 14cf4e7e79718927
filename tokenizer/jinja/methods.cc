#include "tokenizer/jinja/methods.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/splitting.h"

namespace kvasir::jinja {
namespace {

absl::Status TooLong() {
  return Exhausted({"the text is longer than ", std::to_string(kMaxTextBytes), " bytes"});
}

std::set<std::string_view> CharactersOf(std::string_view text) {
  std::set<std::string_view> characters;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharacterBytes(text, at);
    characters.insert(text.substr(at, bytes));
    at += bytes;
  }
  return characters;
}

size_t PreviousCharacter(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) {
    --begin;
  }
  return begin + CharacterBytes(text, begin) == end ? begin : end - 1;
}

template <Side side>
absl::StatusOr<Value> StripMethod(const Text& self, std::string_view name,
                                  const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"chars"}));
  if (values[0].is_undefined() || values[0].is_none()) return Value(Strip(self, side, nullptr));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* characters, TextArgument(name, "chars", values[0]));
  return Value(Strip(self, side, characters));
}

template <bool at_end>
absl::StatusOr<Value> StartsOrEndsWith(const Text& self, std::string_view name,
                                       const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"prefix"}, 1));
  std::vector<Value> affixes = {values[0]};
  if (values[0].list() != nullptr && values[0].list()->is_tuple()) {
    affixes = values[0].list()->items();
  }
  for (const Value& value : affixes) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* affix, TextArgument(name, "prefix", value));
    if (at_end ? self.bytes().ends_with(affix->bytes())
               : self.bytes().starts_with(affix->bytes())) {
      return Value(true);
    }
  }
  return Value(false);
}

template <bool at_end>
absl::StatusOr<Value> RemoveAffix(const Text& self, std::string_view name,
                                  const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"prefix"}, 1));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* affix, TextArgument(name, "prefix", values[0]));
  if (at_end && self.bytes().ends_with(affix->bytes())) {
    return Value(self.Slice(0, self.size() - affix->size()));
  }
  if (!at_end && self.bytes().starts_with(affix->bytes())) {
    return Value(self.Slice(affix->size(), self.size()));
  }
  return Value(self);
}

template <Text (*transform)(const Text&)>
absl::StatusOr<Value> Transform(const Text& self, std::string_view name,
                                const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  return Value(transform(self));
}

Text Upper(const Text& text) { return text.MapRuns(UpperAscii); }
Text Lower(const Text& text) { return text.MapRuns(LowerAscii); }

absl::StatusOr<Value> ReplaceMethod(const Text& self, std::string_view name,
                                    const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"old", "new", "count"}, 2));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* from, TextArgument(name, "old", values[0]));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* to, TextArgument(name, "new", values[1]));
  int64_t count = -1;
  if (!values[2].is_undefined()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(count, IntegerArgument(name, "count", values[2]));
  }
  if (!self.is_markup()) return Replace(self, *from, *to, count);
  absl::StatusOr<Value> replaced = Replace(self, EscapeHtml(*from), EscapeHtml(*to), count);
  if (!replaced.ok()) return replaced;
  return Value(replaced->text()->AsMarkup());
}

template <bool from_end>
absl::StatusOr<Value> FindMethod(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"sub"}, 1));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* needle, TextArgument(name, "sub", values[0]));
  const size_t at =
      from_end ? self.bytes().rfind(needle->bytes()) : Find(self.bytes(), needle->bytes());
  if (at == std::string_view::npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(CountCharacters(std::string_view(self.bytes()).substr(0, at))));
}

absl::StatusOr<Value> CountMethod(const Text& self, std::string_view name,
                                  const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"sub"}, 1));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* needle, TextArgument(name, "sub", values[0]));
  if (needle->empty()) return Value(static_cast<int64_t>(CountCharacters(self.bytes()) + 1));
  int64_t count = 0;
  for (size_t at = Find(self.bytes(), needle->bytes()); at != std::string_view::npos;
       at = Find(self.bytes(), needle->bytes(), at + needle->size())) {
    ++count;
  }
  return Value(count);
}

absl::StatusOr<Value> JoinMethod(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"iterable"}, 1));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(values[0]));
  for (const Value& item : items) {
    KVASIR_JINJA_RETURN_IF_ERROR(TextArgument(name, "each item", item).status());
  }
  return Join(self, items);
}

template <bool (*holds)(char)>
absl::StatusOr<Value> AllCharacters(const Text& self, std::string_view name,
                                    const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  return Value(!self.empty() && std::all_of(self.bytes().begin(), self.bytes().end(), holds));
}

absl::StatusOr<Value> IsAllSpace(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  return Value(!self.empty() && Strip(self, Side::kLeft, nullptr).empty());
}

const std::map<std::string_view, TextMethod>& TextMethods() {
  static const auto& methods = *new std::map<std::string_view, TextMethod>{
      {"strip", StripMethod<Side::kBoth>},
      {"lstrip", StripMethod<Side::kLeft>},
      {"rstrip", StripMethod<Side::kRight>},
      {"split", Split},
      {"rsplit", RightSplit},
      {"partition", Partition},
      {"rpartition", RightPartition},
      {"splitlines", SplitLines},
      {"startswith", StartsOrEndsWith<false>},
      {"endswith", StartsOrEndsWith<true>},
      {"removeprefix", RemoveAffix<false>},
      {"removesuffix", RemoveAffix<true>},
      {"upper", Transform<Upper>},
      {"lower", Transform<Lower>},
      {"title", Transform<Title>},
      {"capitalize", Transform<Capitalize>},
      {"replace", ReplaceMethod},
      {"find", FindMethod<false>},
      {"rfind", FindMethod<true>},
      {"count", CountMethod},
      {"join", JoinMethod},
      {"isdigit", AllCharacters<IsAsciiDigit>},
      {"isalpha", AllCharacters<IsAsciiLetter>},
      {"isspace", IsAllSpace},
  };
  return methods;
}

absl::StatusOr<Value> CallDictMethod(const Dict& dict, std::string_view name,
                                     const ArgumentValues& arguments) {
  if (name == "get") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"key", "default"}, 1));
    const Value* found =
        values[0].text() == nullptr ? nullptr : dict.Find(values[0].text()->bytes());
    if (found != nullptr) return *found;
    const bool has_default = arguments.positional.size() > 1 || !arguments.named.empty();
    return has_default ? values[1] : Value(Value::None());
  }
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (name == "items") return Items(dict);
  std::vector<Value> items;
  for (const Dict::Entry& entry : dict.entries()) {
    items.push_back(name == "keys" ? Value(entry.key) : entry.value);
  }
  return Value(List(std::move(items), List::Kind::kView));
}

absl::StatusOr<Value> CallListMethod(const List& list, std::string_view name,
                                     const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"value"}, 1));
  const auto equals = [&](const Value& item) { return Equal(item, values[0]); };
  const auto begin = list.items().begin();
  const auto end = list.items().end();
  if (name == "count") return Value(static_cast<int64_t>(std::count_if(begin, end, equals)));
  const auto found = std::find_if(begin, end, equals);
  if (found == end) return Invalid({"'index': the value is not in the list"});
  return Value(static_cast<int64_t>(found - begin));
}

}  // namespace

bool IsMethod(const Value& receiver, std::string_view name) {
  if (receiver.text() != nullptr) return TextMethods().contains(name);
  if (receiver.dict() != nullptr) {
    return name == "get" || name == "items" || name == "keys" || name == "values";
  }
  if (receiver.list() != nullptr) {
    return !receiver.list()->is_iterator() && (name == "count" || name == "index");
  }
  return receiver.loop() != nullptr && name == "cycle";
}

absl::StatusOr<Value> CallMethod(const Value& receiver, std::string_view name,
                                 const ArgumentValues& arguments) {
  if (const Text* text = receiver.text()) {
    return TextMethods().find(name)->second(*text, name, arguments);
  }
  if (const Dict* dict = receiver.dict()) return CallDictMethod(*dict, name, arguments);
  if (const List* list = receiver.list()) return CallListMethod(*list, name, arguments);
  if (arguments.positional.empty()) return Invalid({"'cycle' needs at least one argument"});
  return arguments.positional[receiver.loop()->index % arguments.positional.size()];
}

Text Strip(const Text& text, Side side, const Text* characters) {
  const std::string_view bytes = text.bytes();
  const auto set =
      characters == nullptr ? std::set<std::string_view>() : CharactersOf(characters->bytes());
  const auto strips = [&](std::string_view character) {
    return characters == nullptr ? IsSpace(CodePoint(character)) : set.contains(character);
  };
  size_t begin = 0;
  size_t end = bytes.size();
  while (side != Side::kRight && begin < end) {
    const size_t length = CharacterBytes(bytes, begin);
    if (!strips(bytes.substr(begin, length))) break;
    begin += length;
  }
  while (side != Side::kLeft && end > begin) {
    const size_t previous = PreviousCharacter(bytes, end);
    if (!strips(bytes.substr(previous, end - previous))) break;
    end = previous;
  }
  return text.Slice(begin, end);
}

absl::StatusOr<Value> Replace(const Text& text, const Text& from, const Text& to, int64_t count) {
  Text result;
  size_t at = 0;
  const std::string_view bytes = text.bytes();
  while (count != 0) {
    const size_t found = Find(bytes, from.bytes(), at);
    if (found == std::string_view::npos) break;
    result.AppendSlice(text, at, found);
    result.Append(to);
    at = found + from.size();
    if (from.empty()) {  // Between all characters, as Python does.
      if (at >= bytes.size()) break;
      const size_t next = at + CharacterBytes(bytes, at);
      result.AppendSlice(text, at, next);
      at = next;
    }
    if (result.size() > kMaxTextBytes) return TooLong();
    if (count > 0) --count;
  }
  result.AppendSlice(text, at, text.size());
  if (result.size() > kMaxTextBytes) return TooLong();
  return Value(std::move(result));
}

absl::StatusOr<Value> Join(const Text& separator, const std::vector<Value>& items) {
  Text joined;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) joined.Append(separator);
    if (const Text* text = items[i].text()) {
      joined.Append(*text);
    } else {
      KVASIR_JINJA_ASSIGN_OR_RETURN(const Text text_of_item, ToText(items[i]));
      joined.Append(text_of_item);
    }
    if (joined.size() > kMaxTextBytes) return TooLong();
  }
  return Value(std::move(joined));
}

Text Title(const Text& text) {
  bool starts = true;
  return text.MapRuns([&](std::string_view run) {
    std::string result(run);
    for (char& c : result) {
      const std::string letter(1, c);
      c = starts ? UpperAscii(letter)[0] : LowerAscii(letter)[0];
      starts = !IsAsciiLetter(c) && static_cast<uint8_t>(c) < 0x80;
    }
    return result;
  });
}

Text Capitalize(const Text& text) {
  bool starts = true;
  return text.MapRuns([&](std::string_view run) {
    std::string result = LowerAscii(run);
    if (std::exchange(starts, false)) result[0] = UpperAscii(result.substr(0, 1))[0];
    return result;
  });
}

Text EscapeHtml(const Text& text) {
  return text.MapRuns([](std::string_view run) {
    std::string escaped;
    for (char c : run) {
      switch (c) {
        case '&':
          escaped += "&amp;";
          break;
        case '<':
          escaped += "&lt;";
          break;
        case '>':
          escaped += "&gt;";
          break;
        case '"':
          escaped += "&#34;";
          break;
        case '\'':
          escaped += "&#39;";
          break;
        default:
          escaped += c;
      }
    }
    return escaped;
  });
}

Value Items(const Dict& dict) {
  std::vector<Value> items;
  for (const Dict::Entry& entry : dict.entries()) {
    items.emplace_back(List({Value(entry.key), entry.value}, List::Kind::kTuple));
  }
  return Value(List(std::move(items), List::Kind::kView));
}

}  // namespace kvasir::jinja

#include "tokenizer/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequence_filters.h"

namespace kvasir::jinja {
namespace {

using Result = absl::StatusOr<Value>;

bool Given(const Value& value) { return !value.is_undefined() && !value.is_none(); }

Result ToJsonFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(
      const auto values,
      Bind(name, arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = values[0].truth();
  style.sort_keys = values[3].truth();
  if (Given(values[1])) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const int64_t indent, IntegerArgument(name, "indent", values[1]));
    if (indent < 0 || indent > kMaxDepth) {
      return Invalid({"'tojson': indent must be 0 to ", std::to_string(kMaxDepth), ", not ",
                      std::to_string(indent)});
    }
    style.indent = static_cast<int>(indent);
    style.item_separator = std::string(",");
  }
  if (Given(values[2])) {
    const List* separators = values[2].list();
    if (separators == nullptr || separators->size() != 2) {
      return Invalid({"'tojson': separators must be two strings"});
    }
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* item,
                                  TextArgument(name, "separators", separators->items()[0]));
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* key,
                                  TextArgument(name, "separators", separators->items()[1]));
    style.item_separator = item->bytes();
    style.key_separator = key->bytes();
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(Text json, ToJson(value, style));
  return Value(std::move(json));
}

Result Trim(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"chars"}));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text text, ToText(value));
  if (!Given(values[0])) return Value(Strip(text, Side::kBoth, nullptr));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* characters, TextArgument(name, "chars", values[0]));
  return Value(Strip(text, Side::kBoth, characters));
}

Result Length(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (value.text() != nullptr) {
    return Value(static_cast<int64_t>(CountCharacters(value.text()->bytes())));
  }
  if (value.list() != nullptr && !value.list()->is_iterator()) {
    return Value(static_cast<int64_t>(value.list()->size()));
  }
  if (value.dict() != nullptr) return Value(static_cast<int64_t>(value.dict()->size()));
  if (value.is_undefined()) return Value(int64_t{0});
  return Invalid({"a ", value.type_name(), " has no length"});
}

Text Upper(const Text& text) { return text.MapRuns(UpperAscii); }
Text Lower(const Text& text) { return text.MapRuns(LowerAscii); }
Text Same(const Text& text) { return text; }

Text Safe(const Text& text) { return text.AsMarkup(); }
Text Escape(const Text& text) { return (text.is_markup() ? text : EscapeHtml(text)).AsMarkup(); }

// Unlike str.title, a word starts only after a space, a dash or an opening bracket.
Text TitleOfWords(const Text& text) {
  bool starts = true;
  return text.MapRuns([&](std::string_view run) {
    std::string result;
    for (char c : run) {
      const std::string_view letter(&c, 1);
      result += starts ? UpperAscii(letter) : LowerAscii(letter);
      starts = (static_cast<uint8_t>(c) < 0x80 && IsSpace(c)) || letter.find_first_of("-({[<") == 0;
    }
    return result;
  });
}

template <Text (*transform)(const Text&)>
Result Transform(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text text, ToText(value));
  return Value(transform(text));
}

Result Default(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"default_value", "boolean"}));
  const bool missing = value.is_undefined() || (values[1].truth() && !value.truth());
  if (!missing) return value;
  if (arguments.positional.empty() && values[0].is_undefined()) return Value(Text());
  return values[0];
}

Result ItemsFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (value.is_undefined()) return Value(List({}, List::Kind::kIterator));
  if (value.dict() == nullptr) return Invalid({"a ", value.type_name(), " has no items"});
  return Value(List(Items(*value.dict()).list()->items(), List::Kind::kIterator));
}

Result ReplaceFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"old", "new", "count"}, 2));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text text, ToText(value));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text from, ToText(values[0]));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text to, ToText(values[1]));
  int64_t count = -1;
  if (Given(values[2])) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(count, IntegerArgument(name, "count", values[2]));
  }
  return Replace(text, from, to, count);
}

Result ToInteger(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"default"}));
  const Value otherwise = values[0].is_undefined() ? Value(int64_t{0}) : values[0];
  if (value.is_int() || value.is_bool()) return Value(value.integer());
  double real = NAN;
  if (value.is_float()) real = value.real();
  if (value.text() != nullptr) {
    const Text digits = Strip(*value.text(), Side::kBoth, nullptr);
    const char* begin = digits.bytes().data();
    const char* end = begin + digits.size();
    if (begin != end && *begin == '+') ++begin;
    int64_t integer = 0;
    const auto parsed = std::from_chars(begin, end, integer);
    if (parsed.ec == std::errc() && parsed.ptr == end) return Value(integer);
    double parsed_real = 0;
    const auto as_real = std::from_chars(begin, end, parsed_real);
    if (as_real.ec == std::errc() && as_real.ptr == end) real = parsed_real;
  }
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (!(real > -kLimit && real < kLimit)) return otherwise;
  return Value(static_cast<int64_t>(real));
}

Result ToFloat(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"default"}));
  if (value.is_number()) return Value(value.real());
  if (value.text() != nullptr) {
    const Text digits = Strip(*value.text(), Side::kBoth, nullptr);
    const char* end = digits.bytes().data() + digits.size();
    double real = 0;
    const auto parsed = std::from_chars(digits.bytes().data(), end, real);
    if (parsed.ec == std::errc() && parsed.ptr == end) return Value(real);
  }
  return values[0].is_undefined() ? Value(0.0) : values[0];
}

Result Absolute(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (!value.is_number()) return Invalid({"'abs' needs a number, not a ", value.type_name()});
  return value.real() < 0 ? Negate(value) : Result(value);
}

Result Indent(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"width", "first", "blank"}));
  if (value.is_undefined()) return Invalid({value.why()});
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text text, ToText(value));
  Text indentation("    ", true);
  if (values[0].text() != nullptr) {
    indentation = *values[0].text();
  } else if (!values[0].is_undefined()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(name, "width", values[0]));
    if (width < 0 || width > 1000) return Invalid({"'indent': width must be 0 to 1000"});
    indentation = Text(std::string(width, ' '), true);
  }
  Text indented;
  bool is_first = true;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.bytes().find('\n', begin), text.size());
    const bool wanted = is_first ? values[1].truth() : (end > begin || values[2].truth());
    if (wanted) indented.Append(indentation);
    indented.AppendSlice(text, begin, std::min(end + 1, text.size()));
    if (indented.size() > kMaxTextBytes) {
      return Exhausted({"the text is longer than ", std::to_string(kMaxTextBytes), " bytes"});
    }
    begin = end + 1;
    is_first = false;
  }
  return Value(std::move(indented));
}

const std::map<std::string_view, Filter>& OtherFilters() {
  static const auto& filters = *new std::map<std::string_view, Filter>{
      {"abs", Absolute},
      {"capitalize", Transform<Capitalize>},
      {"count", Length},
      {"d", Default},
      {"default", Default},
      {"e", Transform<Escape>},
      {"escape", Transform<Escape>},
      {"float", ToFloat},
      {"indent", Indent},
      {"int", ToInteger},
      {"items", ItemsFilter},
      {"length", Length},
      {"lower", Transform<Lower>},
      {"replace", ReplaceFilter},
      {"safe", Transform<Safe>},
      {"string", Transform<Same>},
      {"title", Transform<TitleOfWords>},
      {"tojson", ToJsonFilter},
      {"trim", Trim},
      {"upper", Transform<Upper>},
  };
  return filters;
}

}  // namespace

bool IsFilter(std::string_view name) {
  return OtherFilters().contains(name) || SequenceFilters().contains(name);
}

absl::StatusOr<Value> ApplyFilter(std::string_view name, const Value& value,
                                  const ArgumentValues& arguments) {
  const auto sequence_filter = SequenceFilters().find(name);
  const Filter filter = sequence_filter != SequenceFilters().end()
                            ? sequence_filter->second
                            : OtherFilters().find(name)->second;
  return filter(name, value, arguments);
}

}  // namespace kvasir::jinja

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
#include "tokenizer/jinja/tests.h"

namespace kvasir::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Filter = Result (*)(std::string_view name, const Value& value,
                          const ArgumentValues& arguments);

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
    style.item_separator = ",";
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
  if (value.list() != nullptr) return Value(static_cast<int64_t>(value.list()->size()));
  if (value.dict() != nullptr) return Value(static_cast<int64_t>(value.dict()->size()));
  if (value.is_undefined()) return Value(int64_t{0});
  return Invalid({"a ", value.type_name(), " has no length"});
}

Text Upper(const Text& text) { return text.MapRuns(UpperAscii); }
Text Lower(const Text& text) { return text.MapRuns(LowerAscii); }
Text Same(const Text& text) { return text; }

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

// The item's attribute `path`, such as "function.name" or "0".
Result AttributeOf(const Value& item, const Value& path) {
  if (path.text() == nullptr) return Item(item, path);
  Value value = item;
  const std::string_view names = path.text()->bytes();
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find('.', begin), names.size());
    const std::string_view part = names.substr(begin, end - begin);
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        !part.empty() && parsed.ec == std::errc() && parsed.ptr == part.data() + part.size();
    KVASIR_JINJA_ASSIGN_OR_RETURN(value,
                                  Item(value, is_index ? Value(index) : Value::Trusted(part)));
    begin = end + 1;
  }
  return value;
}

Result JoinFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"d", "attribute"}));
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value));
  if (Given(values[1])) {
    for (Value& item : items) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(item, AttributeOf(item, values[1]));
    }
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text separator, ToText(values[0]));
  return Join(separator, items);
}

template <bool last>
Result End(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
  if (items.empty()) return Value::UndefinedBecause("the sequence is empty");
  return last ? items.back() : items.front();
}

Result ToList(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value));
  return Value(List(std::move(items)));
}

Result Reverse(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  if (value.text() != nullptr) {
    KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
    return Slice(value, Value(), Value(), Value(int64_t{-1}));
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value));
  std::reverse(items.begin(), items.end());
  return Value(List(std::move(items)));
}

Result ItemsFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (value.is_undefined()) return Value(List({}));
  if (value.dict() == nullptr) return Invalid({"a ", value.type_name(), " has no items"});
  return Items(*value.dict());
}

// `sort`'s key for text: without case, unless asked.
Value SortKey(const Value& value, bool case_sensitive) {
  if (case_sensitive || value.text() == nullptr) return value;
  return Value(Lower(*value.text()));
}

Result SortBy(std::vector<Value> items, const Value& attribute, bool case_sensitive, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;  // Key and item.
  for (Value& item : items) {
    Value key = item;
    if (Given(attribute)) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(key, AttributeOf(item, attribute));
    }
    keyed.emplace_back(SortKey(key, case_sensitive), std::move(item));
  }
  absl::Status failure;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    const absl::StatusOr<bool> less = reverse ? Less(b.first, a.first) : Less(a.first, b.first);
    if (!less.ok()) failure = less.status();
    return less.ok() && *less;
  });
  KVASIR_JINJA_RETURN_IF_ERROR(failure);
  std::vector<Value> sorted;
  for (auto& [key, item] : keyed) sorted.push_back(std::move(item));
  return Value(List(std::move(sorted)));
}

Result Sort(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"reverse", "case_sensitive", "attribute"}));
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value));
  return SortBy(std::move(items), values[2], values[1].truth(), values[0].truth());
}

Result DictSort(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"case_sensitive", "by", "reverse"}));
  if (value.dict() == nullptr) return Invalid({"'dictsort' needs a dict"});
  const bool by_value = values[1].text() != nullptr && values[1].text()->bytes() == "value";
  return SortBy(Items(*value.dict()).list()->items(), Value(int64_t{by_value ? 1 : 0}),
                values[0].truth(), values[2].truth());
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

Result Map(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value));
  if (arguments.positional.empty()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                  Bind(name, arguments, {"attribute", "default"}, 1));
    for (Value& item : items) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(item, AttributeOf(item, values[0]));
      if (item.is_undefined() && !values[1].is_undefined()) item = values[1];
    }
    return Value(List(std::move(items)));
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* filter,
                                TextArgument(name, "the filter", arguments.positional[0]));
  if (!IsFilter(filter->bytes())) {
    return Invalid({"the filter '", filter->bytes(), "' is not supported"});
  }
  ArgumentValues rest = arguments;
  rest.positional.erase(rest.positional.begin());
  for (Value& item : items) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(item, ApplyFilter(filter->bytes(), item, rest));
  }
  return Value(List(std::move(items)));
}

// select, reject, selectattr and rejectattr.
template <bool keep, bool of_attribute>
Result SelectFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
  ArgumentValues rest = arguments;
  Value attribute;
  if (of_attribute) {
    if (rest.positional.empty()) return Invalid({"'", name, "' needs an attribute"});
    attribute = rest.positional[0];
    rest.positional.erase(rest.positional.begin());
  }
  std::string test;  // Empty: the value's truth.
  if (!rest.positional.empty()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* given,
                                  TextArgument(name, "the test", rest.positional[0]));
    static constexpr std::pair<std::string_view, std::string_view> kSigns[] = {
        {"==", "eq"}, {"!=", "ne"}, {"<", "lt"}, {"<=", "le"}, {">", "gt"}, {">=", "ge"}};
    test.assign(given->bytes());
    for (const auto& [sign, word] : kSigns) {
      if (given->bytes() == sign) test.assign(word);
    }
    if (!IsTest(test)) return Invalid({"the test '", test, "' is not supported"});
    rest.positional.erase(rest.positional.begin());
  }
  std::vector<Value> kept;
  for (const Value& item : items) {
    Value subject = item;
    if (of_attribute) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(subject, AttributeOf(item, attribute));
    }
    bool holds = subject.truth();
    if (!test.empty()) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(holds, RunTest(test, subject, rest));
    }
    if (holds == keep) kept.push_back(item);
  }
  return Value(List(std::move(kept)));
}

Result Indent(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                Bind(name, arguments, {"width", "first", "blank"}));
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

template <bool largest>
Result Extreme(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
  if (items.empty()) return Value::UndefinedBecause("the sequence is empty");
  Value best = items[0];
  for (const Value& item : items) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const bool better, largest ? Less(best, item) : Less(item, best));
    if (better) best = item;
  }
  return best;
}

Result Sum(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"attribute", "start"}));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
  Value sum = values[1].is_undefined() ? Value(int64_t{0}) : values[1];
  for (const Value& item : items) {
    Value term = item;
    if (Given(values[0])) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(term, AttributeOf(item, values[0]));
    }
    if (!sum.is_number() || !term.is_number()) return Invalid({"'sum' needs numbers"});
    KVASIR_JINJA_ASSIGN_OR_RETURN(sum, Apply(Binary::Operator::kAdd, sum, term));
  }
  return sum;
}

const std::map<std::string_view, Filter>& Filters() {
  static const auto& filters = *new std::map<std::string_view, Filter>{
      {"abs", Absolute},
      {"capitalize", Transform<Capitalize>},
      {"count", Length},
      {"d", Default},
      {"default", Default},
      {"dictsort", DictSort},
      {"e", Transform<EscapeHtml>},
      {"escape", Transform<EscapeHtml>},
      {"first", End<false>},
      {"float", ToFloat},
      {"indent", Indent},
      {"int", ToInteger},
      {"items", ItemsFilter},
      {"join", JoinFilter},
      {"last", End<true>},
      {"length", Length},
      {"list", ToList},
      {"lower", Transform<Lower>},
      {"map", Map},
      {"max", Extreme<true>},
      {"min", Extreme<false>},
      {"reject", SelectFilter<false, false>},
      {"rejectattr", SelectFilter<false, true>},
      {"replace", ReplaceFilter},
      {"reverse", Reverse},
      {"safe", Transform<Same>},
      {"select", SelectFilter<true, false>},
      {"selectattr", SelectFilter<true, true>},
      {"sort", Sort},
      {"string", Transform<Same>},
      {"sum", Sum},
      {"title", Transform<TitleOfWords>},
      {"tojson", ToJsonFilter},
      {"trim", Trim},
      {"upper", Transform<Upper>},
  };
  return filters;
}

}  // namespace

bool IsFilter(std::string_view name) { return Filters().contains(name); }

absl::StatusOr<Value> ApplyFilter(std::string_view name, const Value& value,
                                  const ArgumentValues& arguments) {
  return Filters().find(name)->second(name, value, arguments);
}

}  // namespace kvasir::jinja

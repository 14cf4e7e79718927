#include "tokenizer/jinja/tests.h"

#include <algorithm>
#include <map>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"

namespace kvasir::jinja {
namespace {

// A test of the value alone.
using Predicate = bool (*)(const Value& value);

bool IsIterable(const Value& value) {
  return value.text() != nullptr || value.list() != nullptr || value.dict() != nullptr ||
         value.is_undefined();
}

bool IsSequence(const Value& value) {
  return IsIterable(value) && (value.list() == nullptr || !value.list()->is_iterator());
}

const std::map<std::string_view, Predicate>& Predicates() {
  static const auto& predicates = *new std::map<std::string_view, Predicate>{
      {"defined", [](const Value& v) { return !v.is_undefined(); }},
      {"undefined", [](const Value& v) { return v.is_undefined(); }},
      {"none", [](const Value& v) { return v.is_none(); }},
      {"boolean", [](const Value& v) { return v.is_bool(); }},
      {"true", [](const Value& v) { return v.is_bool() && v.truth(); }},
      {"false", [](const Value& v) { return v.is_bool() && !v.truth(); }},
      {"integer", [](const Value& v) { return v.is_int(); }},
      {"float", [](const Value& v) { return v.is_float(); }},
      {"number", [](const Value& v) { return v.is_number(); }},
      {"string", [](const Value& v) { return v.text() != nullptr; }},
      {"mapping", [](const Value& v) { return v.dict() != nullptr; }},
      {"sequence", IsSequence},
      {"iterable", IsIterable},
      {"callable", [](const Value& v) { return v.function() != nullptr || v.is_undefined(); }},
  };
  return predicates;
}

const std::map<std::string_view, Comparison::Operator>& Comparisons() {
  using Op = Comparison::Operator;
  static const auto& comparisons = *new std::map<std::string_view, Op>{
      {"eq", Op::kEqual},   {"equalto", Op::kEqual},       {"ne", Op::kNotEqual},
      {"lt", Op::kLess},    {"lessthan", Op::kLess},       {"le", Op::kLessEqual},
      {"gt", Op::kGreater}, {"greaterthan", Op::kGreater}, {"ge", Op::kGreaterEqual},
      {"in", Op::kIn}};
  return comparisons;
}

// Whether the letters of `text`, of which there must be some, are all of one case.
bool IsOfCase(std::string_view text, bool upper) {
  return std::any_of(text.begin(), text.end(), IsAsciiLetter) &&
         text == (upper ? UpperAscii(text) : LowerAscii(text));
}

// Whether value % divisor == remainder.
absl::StatusOr<bool> Leaves(const Value& value, const Value& divisor, int64_t remainder) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value left, Apply(Binary::Operator::kModulo, value, divisor));
  return Equal(left, Value(remainder));
}

}  // namespace

bool IsTest(std::string_view name) {
  return Predicates().contains(name) || Comparisons().contains(name) || name == "even" ||
         name == "odd" || name == "divisibleby" || name == "sameas" || name == "upper" ||
         name == "lower" || name == "filter" || name == "test";
}

absl::StatusOr<bool> RunTest(std::string_view name, const Value& value,
                             const ArgumentValues& arguments) {
  if (const auto found = Predicates().find(name); found != Predicates().end()) {
    KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
    return found->second(value);
  }
  if (const auto found = Comparisons().find(name); found != Comparisons().end()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"other"}, 1));
    return Compare(found->second, value, values[0]);
  }
  if (name == "divisibleby") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"num"}, 1));
    return Leaves(value, values[0], 0);
  }
  if (name == "sameas") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"other"}, 1));
    return value.type_name() == values[0].type_name() && Equal(value, values[0]);
  }
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (name == "even" || name == "odd") {
    return Leaves(value, Value(int64_t{2}), name == "even" ? 0 : 1);
  }
  if (name == "upper" || name == "lower") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text text, ToText(value));
    return IsOfCase(text.bytes(), name == "upper");
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* text, TextArgument(name, "the value", value));
  return name == "filter" ? IsFilter(text->bytes()) : IsTest(text->bytes());
}

}  // namespace kvasir::jinja

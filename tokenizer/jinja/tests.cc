#include "tokenizer/jinja/tests.h"

#include <algorithm>
#include <map>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"

namespace kvasir::jinja {
namespace {

// A test of the value alone.
using Predicate = bool (*)(const Value& value);

bool IsSequence(const Value& value) {
  return value.text() != nullptr || value.list() != nullptr || value.dict() != nullptr ||
         value.is_undefined();
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
      {"iterable", IsSequence},
      {"callable", [](const Value& v) { return v.function() != nullptr; }},
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

absl::StatusOr<bool> Divides(std::string_view name, const Value& value, int64_t divisor) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const int64_t number, IntegerArgument(name, "the value", value));
  if (divisor == 0) return Invalid({"'", name, "': division by zero"});
  return divisor == -1 || number % divisor == 0;
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
    KVASIR_JINJA_ASSIGN_OR_RETURN(const int64_t divisor, IntegerArgument(name, "num", values[0]));
    return Divides(name, value, divisor);
  }
  if (name == "sameas") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"other"}, 1));
    return value.type_name() == values[0].type_name() && Equal(value, values[0]);
  }
  KVASIR_JINJA_RETURN_IF_ERROR(Bind(name, arguments, {}).status());
  if (name == "even" || name == "odd") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const bool even, Divides(name, value, 2));
    return even == (name == "even");
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* text, TextArgument(name, "the value", value));
  if (name == "filter") return IsFilter(text->bytes());
  if (name == "test") return IsTest(text->bytes());
  const bool has_letters = std::any_of(text->bytes().begin(), text->bytes().end(), IsAsciiLetter);
  const std::string mapped =
      name == "upper" ? UpperAscii(text->bytes()) : LowerAscii(text->bytes());
  return has_letters && mapped == text->bytes();
}

}  // namespace kvasir::jinja

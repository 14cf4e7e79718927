#include "tokenizer/jinja/sequence_filters.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/tests.h"

namespace kvasir::jinja {
namespace {

using Result = absl::StatusOr<Value>;

bool Given(const Value& value) { return !value.is_undefined() && !value.is_none(); }

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
  if (last && value.list() != nullptr && value.list()->is_iterator()) {
    return Invalid({"'last' needs what can be gone through from its end"});
  }
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
  const bool copied = value.list() != nullptr && value.list()->is_iterator();
  return Value(List(std::move(items), copied ? List::Kind::kList : List::Kind::kIterator));
}

// `sort`'s key for text: without case, unless asked.
Value SortKey(const Value& value, bool case_sensitive) {
  if (case_sensitive || value.text() == nullptr) return value;
  return Value(value.text()->MapRuns(LowerAscii));
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

// What is false has no items for `map` and `select`, whatever it is.
Result NoItems() { return Value(List({}, List::Kind::kIterator)); }

Result Map(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  if (!value.truth()) return NoItems();
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value));
  if (arguments.positional.empty()) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values,
                                  Bind(name, arguments, {"attribute", "default"}, 1));
    for (Value& item : items) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(item, AttributeOf(item, values[0]));
      if (item.is_undefined() && !values[1].is_undefined()) item = values[1];
    }
    return Value(List(std::move(items), List::Kind::kIterator));
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
  return Value(List(std::move(items), List::Kind::kIterator));
}

// select, reject, selectattr and rejectattr.
template <bool keep, bool of_attribute>
Result SelectFilter(std::string_view name, const Value& value, const ArgumentValues& arguments) {
  if (!value.truth()) return NoItems();
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
  return Value(List(std::move(kept), List::Kind::kIterator));
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

}  // namespace

const std::map<std::string_view, Filter>& SequenceFilters() {
  static const auto& filters = *new std::map<std::string_view, Filter>{
      {"dictsort", DictSort},
      {"first", End<false>},
      {"join", JoinFilter},
      {"last", End<true>},
      {"list", ToList},
      {"map", Map},
      {"max", Extreme<true>},
      {"min", Extreme<false>},
      {"reject", SelectFilter<false, false>},
      {"rejectattr", SelectFilter<false, true>},
      {"reverse", Reverse},
      {"select", SelectFilter<true, false>},
      {"selectattr", SelectFilter<true, true>},
      {"sort", Sort},
      {"sum", Sum},
  };
  return filters;
}

}  // namespace kvasir::jinja

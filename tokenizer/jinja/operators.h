#ifndef KVASIR_TOKENIZER_JINJA_OPERATORS_H_
#define KVASIR_TOKENIZER_JINJA_OPERATORS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/tree.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// Python's operators. Errors carry no position.

absl::StatusOr<Value> Apply(Binary::Operator op, const Value& left, const Value& right);
absl::StatusOr<Value> Negate(const Value& operand);

// As ==: numbers by value, text by bytes, lists and dicts by content, all else by identity.
bool Equal(const Value& left, const Value& right);
absl::StatusOr<bool> Compare(Comparison::Operator op, const Value& left, const Value& right);
// left < right, for what has an order.
absl::StatusOr<bool> Less(const Value& left, const Value& right);
// needle in haystack.
absl::StatusOr<bool> Contains(const Value& haystack, const Value& needle);

// object[key]; undefined where there is none.
absl::StatusOr<Value> Item(const Value& object, const Value& key);
// object.name: an attribute, a method, a dict's entry; undefined where there is none.
absl::StatusOr<Value> Attribute(const Value& object, std::string_view name);
// object[start:stop:step]; undefined or none: left out.
absl::StatusOr<Value> Slice(const Value& object, const Value& start, const Value& stop,
                            const Value& step);

// What a for loop goes through: items, keys, characters.
absl::StatusOr<std::vector<Value>> Iterate(const Value& value);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_OPERATORS_H_

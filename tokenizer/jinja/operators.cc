#include "tokenizer/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tokenizer/jinja/characters.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/printing.h"

namespace kvasir::jinja {
namespace {

absl::Status Unsupported(std::string_view op, const Value& left, const Value& right) {
  if (left.is_undefined()) return Invalid({left.why()});
  if (right.is_undefined()) return Invalid({right.why()});
  return Invalid(
      {"'", op, "' is not supported between a ", left.type_name(), " and a ", right.type_name()});
}

absl::StatusOr<Value> Concatenated(const Text& left, const Text& right) {
  if (left.size() + right.size() > kMaxTextBytes) {
    return Exhausted({"the text is longer than ", std::to_string(kMaxTextBytes), " bytes"});
  }
  Text joined = left;
  joined.Append(right);
  return Value(std::move(joined));
}

// A list or a tuple, in the narrow sense.
bool IsPlain(const List* list) {
  return list != nullptr && (list->kind() == List::Kind::kList || list->is_tuple());
}

// What was marked as safe makes the rest of its sum safe: that is escaped.
absl::StatusOr<Value> AddMarkup(const Text& left, const Text& right) {
  absl::StatusOr<Value> sum = Concatenated(left.is_markup() ? left : EscapeHtml(left),
                                           right.is_markup() ? right : EscapeHtml(right));
  if (!sum.ok()) return sum;
  return Value(sum->text()->AsMarkup());
}

absl::StatusOr<Value> Add(const Value& left, const Value& right) {
  if (left.text() != nullptr && right.text() != nullptr) {
    if (left.text()->is_markup() || right.text()->is_markup()) {
      return AddMarkup(*left.text(), *right.text());
    }
    return Concatenated(*left.text(), *right.text());
  }
  if (IsPlain(left.list()) && IsPlain(right.list()) &&
      left.list()->kind() == right.list()->kind()) {
    std::vector<Value> items = left.list()->items();
    items.insert(items.end(), right.list()->items().begin(), right.list()->items().end());
    return Value(List(std::move(items), left.list()->kind()));
  }
  return Unsupported("+", left, right);
}

absl::StatusOr<Value> Repeat(const Text& text, int64_t count) {
  if (count <= 0 || text.empty()) return Value(Text());
  if (static_cast<uint64_t>(count) > kMaxTextBytes / text.size()) {
    return Exhausted({"the text is longer than ", std::to_string(kMaxTextBytes), " bytes"});
  }
  Text repeated;
  for (int64_t i = 0; i < count; ++i) repeated.Append(text);
  return Value(std::move(repeated));
}

absl::StatusOr<Value> RepeatList(const List& list, int64_t count) {
  std::vector<Value> items;
  if (count > 0 && list.size() > 0) {
    if (static_cast<uint64_t>(count) > kMaxListItems / list.size()) {
      return Exhausted({"the list has more than ", std::to_string(kMaxListItems), " items"});
    }
    items.reserve(list.size() * count);
    for (int64_t i = 0; i < count; ++i) {
      items.insert(items.end(), list.items().begin(), list.items().end());
    }
  }
  return Value(List(std::move(items), list.kind()));
}

absl::StatusOr<Value> Multiply(const Value& left, const Value& right) {
  const auto counts = [](const Value& value) { return value.is_int() || value.is_bool(); };
  if (left.text() != nullptr && counts(right)) return Repeat(*left.text(), right.integer());
  if (right.text() != nullptr && counts(left)) return Repeat(*right.text(), left.integer());
  if (IsPlain(left.list()) && counts(right)) return RepeatList(*left.list(), right.integer());
  if (IsPlain(right.list()) && counts(left)) return RepeatList(*right.list(), left.integer());
  return Unsupported("*", left, right);
}

absl::Status Overflow() { return Invalid({"the result does not fit a 64-bit integer"}); }
absl::Status ByZero() { return Invalid({"division by zero"}); }

absl::StatusOr<Value> PowerOfIntegers(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return ByZero();
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return Overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return Overflow();
  }
  return Value(result);
}

absl::StatusOr<Value> ApplyToIntegers(Binary::Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Binary::Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return Overflow();
      return Value(result);
    case Binary::Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return Overflow();
      return Value(result);
    case Binary::Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return Overflow();
      return Value(result);
    case Binary::Operator::kDivide:
      if (b == 0) return ByZero();
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case Binary::Operator::kPower:
      return PowerOfIntegers(a, b);
    default:
      break;
  }
  if (b == 0) return ByZero();
  const bool is_modulo = op == Binary::Operator::kModulo;
  if (b == -1) {  // INT64_MIN / -1 traps.
    if (is_modulo) return Value(int64_t{0});
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) return Overflow();
    return Value(result);
  }
  const bool rounds_down = a % b != 0 && (a % b < 0) != (b < 0);
  if (is_modulo) return Value(a % b + (rounds_down ? b : 0));
  return Value(a / b - (rounds_down ? 1 : 0));
}

absl::StatusOr<Value> ApplyToReals(Binary::Operator op, double a, double b) {
  switch (op) {
    case Binary::Operator::kAdd:
      return Value(a + b);
    case Binary::Operator::kSubtract:
      return Value(a - b);
    case Binary::Operator::kMultiply:
      return Value(a * b);
    case Binary::Operator::kPower:
      if (a == 0 && b < 0) return ByZero();
      if (a < 0 && b != std::floor(b)) return Invalid({"the result is no real number"});
      return Value(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) return ByZero();
  if (op == Binary::Operator::kDivide) return Value(a / b);
  double modulo = std::fmod(a, b);
  if (modulo == 0) {
    modulo = std::copysign(0.0, b);
  } else if ((modulo < 0) != (b < 0)) {
    modulo += b;
  }
  if (op == Binary::Operator::kModulo) return Value(modulo);
  const double quotient = std::round((a - modulo) / b);
  return Value(quotient == 0 ? std::copysign(0.0, a / b) : quotient);
}

std::string_view Spelling(Binary::Operator op) {
  static constexpr std::string_view kSpellings[] = {"+", "-", "*", "/", "//", "%", "**", "~"};
  return kSpellings[static_cast<int>(op)];
}

// The index of an item, counted from the end where negative; false where there is none.
bool Locate(int64_t index, size_t size, size_t& at) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return false;
  at = static_cast<size_t>(index);
  return true;
}

absl::StatusOr<std::optional<int64_t>> SliceBound(const Value& value) {
  if (value.is_undefined() || value.is_none()) return std::nullopt;
  if (value.is_int() || value.is_bool()) return value.integer();
  return Invalid({"a slice's bounds are integers, not a ", value.type_name()});
}

}  // namespace

absl::StatusOr<Value> Apply(Binary::Operator op, const Value& left, const Value& right) {
  if (op == Binary::Operator::kConcatenate) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text a, ToText(left));
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text b, ToText(right));
    return Concatenated(a, b);
  }
  if (left.is_number() && right.is_number()) {
    if (left.is_float() || right.is_float()) return ApplyToReals(op, left.real(), right.real());
    return ApplyToIntegers(op, left.integer(), right.integer());
  }
  if (op == Binary::Operator::kAdd) return Add(left, right);
  if (op == Binary::Operator::kMultiply) return Multiply(left, right);
  return Unsupported(Spelling(op), left, right);
}

absl::StatusOr<Value> Negate(const Value& operand) {
  if (operand.is_float()) return Value(-operand.real());
  if (operand.is_number()) {
    return ApplyToIntegers(Binary::Operator::kSubtract, 0, operand.integer());
  }
  if (operand.is_undefined()) return Invalid({operand.why()});
  return Invalid({"a ", operand.type_name(), " has no negative"});
}

bool Equal(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is_float() || right.is_float()) return left.real() == right.real();
    return left.integer() == right.integer();
  }
  if (left.is_none() || left.is_undefined()) {
    return left.is_none() ? right.is_none() : right.is_undefined();
  }
  if (left.text() != nullptr) {
    return right.text() != nullptr && left.text()->bytes() == right.text()->bytes();
  }
  if (const List* a = left.list()) {
    const List* b = right.list();
    if (b == nullptr || a->kind() != b->kind()) return false;
    if (a->is_iterator()) return a == b;
    return std::equal(a->items().begin(), a->items().end(), b->items().begin(), b->items().end(),
                      Equal);
  }
  if (const Dict* a = left.dict()) {
    const Dict* b = right.dict();
    if (b == nullptr || a->size() != b->size()) return false;
    return std::all_of(a->entries().begin(), a->entries().end(), [&](const Dict::Entry& entry) {
      const Value* other = b->Find(entry.key->bytes());
      return other != nullptr && Equal(entry.value, *other);
    });
  }
  if (left.space() != nullptr) return left.space() == right.space();
  if (left.loop() != nullptr) return left.loop() == right.loop();
  return left.function() != nullptr && left.function() == right.function();
}

absl::StatusOr<bool> Less(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is_float() || right.is_float()) return left.real() < right.real();
    return left.integer() < right.integer();
  }
  if (left.text() != nullptr && right.text() != nullptr) {
    return left.text()->bytes() < right.text()->bytes();
  }
  const List* a = left.list();
  const List* b = right.list();
  if (a == nullptr || b == nullptr || a->kind() != b->kind() || !IsPlain(a)) {
    return Unsupported("<", left, right);
  }
  for (size_t i = 0; i < std::min(a->size(), b->size()); ++i) {
    if (!Equal(a->items()[i], b->items()[i])) return Less(a->items()[i], b->items()[i]);
  }
  return a->size() < b->size();
}

absl::StatusOr<bool> Compare(Comparison::Operator op, const Value& left, const Value& right) {
  switch (op) {
    case Comparison::Operator::kEqual:
      return Equal(left, right);
    case Comparison::Operator::kNotEqual:
      return !Equal(left, right);
    case Comparison::Operator::kIn:
      return Contains(right, left);
    case Comparison::Operator::kNotIn: {
      KVASIR_JINJA_ASSIGN_OR_RETURN(const bool contains, Contains(right, left));
      return !contains;
    }
    case Comparison::Operator::kLess:
      return Less(left, right);
    case Comparison::Operator::kGreater:
      return Less(right, left);
    case Comparison::Operator::kLessEqual:
    case Comparison::Operator::kGreaterEqual:
      break;
  }
  const bool swapped = op == Comparison::Operator::kGreaterEqual;
  KVASIR_JINJA_ASSIGN_OR_RETURN(const bool less, swapped ? Less(right, left) : Less(left, right));
  return less || Equal(left, right);
}

absl::StatusOr<bool> Contains(const Value& haystack, const Value& needle) {
  if (const Text* text = haystack.text()) {
    if (needle.text() == nullptr) return Unsupported("in", needle, haystack);
    return Find(text->bytes(), needle.text()->bytes()) != std::string_view::npos;
  }
  if (haystack.list() != nullptr) {
    const std::vector<Value> items = haystack.list()->Take();
    return std::any_of(items.begin(), items.end(),
                       [&](const Value& item) { return Equal(item, needle); });
  }
  if (const Dict* dict = haystack.dict()) {
    return needle.text() != nullptr && dict->Find(needle.text()->bytes()) != nullptr;
  }
  if (haystack.is_undefined()) return false;
  return Invalid({"nothing can be 'in' a ", haystack.type_name()});
}

absl::StatusOr<Value> Item(const Value& object, const Value& key) {
  if (object.is_undefined()) return Invalid({object.why()});
  if (key.is_int() || key.is_bool()) {
    size_t at = 0;
    if (const List* list = object.list()) {
      if (!list->is_iterator() && Locate(key.integer(), list->size(), at)) return list->items()[at];
    } else if (const Text* text = object.text()) {
      if (Locate(key.integer(), CountCharacters(text->bytes()), at)) {
        const size_t begin = CharacterOffset(text->bytes(), at);
        return Value(text->Slice(begin, begin + CharacterBytes(text->bytes(), begin)));
      }
    }
    return Value::UndefinedBecause(
        Concat({"a ", object.type_name(), " has no item ", std::to_string(key.integer())}));
  }
  if (key.text() == nullptr) {
    return Value::UndefinedBecause(
        Concat({"a ", object.type_name(), " has no item of type ", key.type_name()}));
  }
  if (object.dict() != nullptr) {
    const Value* found = object.dict()->Find(key.text()->bytes());
    if (found != nullptr) return *found;
  }
  return Attribute(object, key.text()->bytes());
}

absl::StatusOr<Value> Attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) return Invalid({object.why()});
  if (object.loop() != nullptr && name != "cycle") return object.loop()->Attribute(name);
  if (IsMethod(object, name)) {
    return Value(Function{Function::Kind::kMethod, std::string(name), object, nullptr});
  }
  const Value* found = nullptr;
  if (object.dict() != nullptr) found = object.dict()->Find(name);
  if (object.space() != nullptr) found = object.space()->Find(name);
  if (found != nullptr) return *found;
  return Value::UndefinedBecause(
      Concat({"a ", object.type_name(), " has no attribute '", name, "'"}));
}

absl::StatusOr<Value> Slice(const Value& object, const Value& start, const Value& stop,
                            const Value& step) {
  if (object.is_undefined()) return Invalid({object.why()});
  const Text* text = object.text();
  const List* list = object.list();
  if (text == nullptr && (list == nullptr || list->is_iterator())) {
    return Invalid({"a ", object.type_name(), " cannot be sliced"});
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto start_given, SliceBound(start));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto stop_given, SliceBound(stop));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const auto step_given, SliceBound(step));
  const int64_t size = text != nullptr ? CountCharacters(text->bytes()) : list->size();
  // No step longer than the whole makes a difference; clamping keeps the sums from overflowing.
  const int64_t stride = std::clamp<int64_t>(step_given.value_or(1), -size - 1, size + 1);
  if (stride == 0) return Invalid({"a slice's step cannot be 0"});
  const int64_t lowest = stride > 0 ? 0 : -1;
  const auto bound = [&](std::optional<int64_t> given, int64_t otherwise) {
    if (!given.has_value()) return otherwise;
    const int64_t value = *given < 0 ? *given + size : *given;
    return std::clamp<int64_t>(value, lowest, stride > 0 ? size : size - 1);
  };
  const int64_t begin = bound(start_given, stride > 0 ? 0 : size - 1);
  const int64_t end = bound(stop_given, stride > 0 ? size : -1);

  if (list != nullptr) {
    std::vector<Value> items;
    for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) {
      items.push_back(list->items()[i]);
    }
    return Value(List(std::move(items), list->kind()));
  }
  if (stride == 1) {
    const size_t from = CharacterOffset(text->bytes(), begin);
    const size_t to = begin < end ? CharacterOffset(text->bytes(), end) : from;
    return Value(text->Slice(from, to));
  }
  std::vector<size_t> offsets;  // Of each character, and the end.
  for (size_t at = 0; at < text->size(); at += CharacterBytes(text->bytes(), at)) {
    offsets.push_back(at);
  }
  offsets.push_back(text->size());
  Text slice;
  for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) {
    slice.AppendSlice(*text, offsets[i], offsets[i + 1]);
  }
  return Value(std::move(slice));
}

absl::StatusOr<std::vector<Value>> Iterate(const Value& value) {
  std::vector<Value> items;
  if (value.list() != nullptr) return value.list()->Take();
  if (value.is_undefined()) return items;
  if (const Dict* dict = value.dict()) {
    for (const Dict::Entry& entry : dict->entries()) items.emplace_back(entry.key);
    return items;
  }
  if (const Text* text = value.text()) {
    for (size_t at = 0; at < text->size();) {
      if (items.size() >= kMaxListItems) {
        return Exhausted({"more than ", std::to_string(kMaxListItems), " characters in a loop"});
      }
      const size_t bytes = CharacterBytes(text->bytes(), at);
      Text character;
      character.AppendSlice(*text, at, at + bytes);
      items.emplace_back(std::move(character));
      at += bytes;
    }
    return items;
  }
  return Invalid({"a ", value.type_name(), " cannot be iterated"});
}

}  // namespace kvasir::jinja

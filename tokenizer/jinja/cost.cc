#include "tokenizer/jinja/cost.h"

#include <algorithm>

namespace kvasir::jinja {
namespace {

// Of going through a value's own items, not into them.
int64_t OwnItems(const Value& value) {
  if (value.list() != nullptr) return 1 + static_cast<int64_t>(value.list()->size());
  if (value.dict() != nullptr) return 1 + static_cast<int64_t>(value.dict()->size());
  return value.weight();
}

// Of reading it, where it is a text; a list or dict is not gone through.
int64_t OfText(const Value& value) { return value.text() != nullptr ? value.weight() : 1; }

int64_t WeightOf(const ArgumentValues& arguments) {
  int64_t weight = 0;
  for (const Value& value : arguments.positional) weight += value.weight();
  for (const auto& [name, value] : arguments.named) weight += value.weight();
  return weight;
}

}  // namespace

int64_t CostOfBinary(Binary::Operator op, const Value& left, const Value& right) {
  if (op == Binary::Operator::kConcatenate) return left.weight() + right.weight();
  return OwnItems(left) + OwnItems(right);
}

int64_t CostOfComparison(Comparison::Operator op, const Value& left, const Value& right) {
  if (op == Comparison::Operator::kIn || op == Comparison::Operator::kNotIn) {
    return right.dict() != nullptr ? OfText(left) : OfText(left) + right.weight();
  }
  return std::min(left.weight(), right.weight());
}

int64_t CostOfItem(const Value& object) { return OfText(object); }

int64_t CostOfSlice(const Value& object) { return OwnItems(object); }

int64_t CostOfCall(const Function& function, const ArgumentValues& arguments) {
  if (function.kind != Function::Kind::kMethod) return 1;
  const Value& receiver = function.receiver;
  if (receiver.dict() != nullptr) return function.name == "get" ? 1 : OwnItems(receiver);
  return receiver.weight() + WeightOf(arguments);
}

int64_t CostOfFilter(std::string_view name, const Value& operand, const ArgumentValues& arguments) {
  if (name == "length" || name == "count" || name == "default" || name == "d") {
    return OfText(operand);
  }
  if (name == "first" || name == "last" || name == "list" || name == "reverse" || name == "items") {
    return OwnItems(operand);
  }
  return operand.weight() + WeightOf(arguments);
}

int64_t CostOfTest(const Value& operand, const ArgumentValues& arguments) {
  return arguments.positional.empty() ? 1 : operand.weight() + WeightOf(arguments);
}

int64_t CostOfResult(const Value& result) { return OfText(result); }

}  // namespace kvasir::jinja

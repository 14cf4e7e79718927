#include <algorithm>
#include <utility>

#include "tokenizer/jinja/cost.h"
#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/finally.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/methods.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/tests.h"
#include "tokenizer/jinja/time_format.h"

// The interpreter's half for expressions and calls.
namespace kvasir::jinja {
namespace {

constexpr std::string_view kGlobals[] = {"range", "namespace", "dict", "raise_exception",
                                         "strftime_now"};

}  // namespace

Interpreter::ValueOr Interpreter::Evaluate(const ExpressionPtr& expression) {
  if (expression == nullptr) return Value();
  if (nesting_ >= kMaxNesting) {
    return At(expression->at,
              Exhausted({"the template nests deeper than ", std::to_string(kMaxNesting)}));
  }
  ++nesting_;
  const Finally leave([&] { --nesting_; });
  if (absl::Status status = Charge(1); !status.ok()) return At(expression->at, status);
  ValueOr value = std::visit([&](const auto& node) { return EvaluateNode(*expression, node); },
                             expression->node);
  if (value.ok() && (value->depth() > kMaxDepth || value->weight() > kMaxSteps)) {
    return At(expression->at, Exhausted({"a value nests deeper than ", std::to_string(kMaxDepth),
                                         " or holds more than the template may read"}));
  }
  return value;
}

Interpreter::ValueOr Interpreter::Made(Position at, ValueOr value) {
  const absl::Status status = value.ok() ? Charge(CostOfResult(*value)) : value.status();
  if (!status.ok()) return At(at, status);
  return value;
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression&, const Literal& node) {
  return node.value;
}

Value Interpreter::Lookup(const std::string& name) const {
  for (size_t i = scopes_.size(); i-- > 0;) {
    if (i < visible_from_ && i != 0) continue;
    for (const auto& [known, value] : scopes_[i]) {
      if (known == name) return value;
    }
  }
  if (const Value* value = variables_.Find(name)) return *value;
  for (std::string_view global : kGlobals) {
    if (global == name) return Value(Function{Function::Kind::kGlobal, name});
  }
  return Value::UndefinedBecause(Concat({"'", name, "' is undefined"}));
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression&, const NameReference& node) {
  return Lookup(node.name);
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression&, const ListDisplay& node) {
  std::vector<Value> items;
  for (const ExpressionPtr& item : node.items) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, Evaluate(item));
    items.push_back(std::move(value));
  }
  return Value(List(std::move(items), node.is_tuple ? List::Kind::kTuple : List::Kind::kList));
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression&, const DictDisplay& node) {
  Dict dict;
  for (const auto& [key_node, value_node] : node.entries) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Value key, Evaluate(key_node));
    if (key.text() == nullptr) {
      return At(key_node->at, Invalid({"a dict's key must be a str, not a ", key.type_name()}));
    }
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, Evaluate(value_node));
    dict.Set(key.shared_text(), std::move(value));
  }
  return Value(std::move(dict));
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression,
                                               const GetAttribute& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value object, Evaluate(node.object));
  ValueOr value = Attribute(object, node.name);
  if (!value.ok()) return At(expression.at, value.status());
  return value;
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression, const GetItem& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value object, Evaluate(node.object));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value key, Evaluate(node.key));
  KVASIR_JINJA_RETURN_IF_ERROR(Charge(CostOfItem(object)));
  ValueOr value = Item(object, key);
  if (!value.ok()) return At(expression.at, value.status());
  return value;
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression, const GetSlice& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value object, Evaluate(node.object));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value start, Evaluate(node.start));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value stop, Evaluate(node.stop));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value step, Evaluate(node.step));
  KVASIR_JINJA_RETURN_IF_ERROR(Charge(CostOfSlice(object)));
  ValueOr value = Slice(object, start, stop, step);
  if (!value.ok()) return At(expression.at, value.status());
  return value;
}

absl::StatusOr<ArgumentValues> Interpreter::EvaluateArguments(const Arguments& arguments) {
  ArgumentValues values;
  for (const ExpressionPtr& argument : arguments.positional) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, Evaluate(argument));
    values.positional.push_back(std::move(value));
  }
  for (const auto& [name, argument] : arguments.named) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, Evaluate(argument));
    values.named.emplace_back(name, std::move(value));
  }
  return values;
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression,
                                               const CallExpression& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value callee, Evaluate(node.callee));
  const Function* function = callee.function();
  if (function == nullptr) {
    return At(
        expression.at,
        Invalid({callee.is_undefined() ? callee.why()
                                       : Concat({"a ", callee.type_name(), " cannot be called"})}));
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const ArgumentValues arguments, EvaluateArguments(node.arguments));
  absl::Status charged = Charge(CostOfCall(*function, arguments));
  if (!charged.ok()) return At(expression.at, charged);
  if (function->kind == Function::Kind::kMacro) {
    return CallMacro(expression.at, *function->macro, arguments);
  }
  ValueOr value = function->kind == Function::Kind::kMethod
                      ? CallMethod(function->receiver, function->name, arguments)
                      : CallGlobal(function->name, arguments);
  return Made(expression.at, std::move(value));
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression,
                                               const FilterExpression& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value operand, Evaluate(node.operand));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const ArgumentValues arguments, EvaluateArguments(node.arguments));
  absl::Status charged = Charge(CostOfFilter(node.name, operand, arguments));
  if (!charged.ok()) return At(expression.at, charged);
  ValueOr value = ApplyFilter(node.name, operand, arguments);
  return Made(expression.at, std::move(value));
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression,
                                               const TestExpression& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value operand, Evaluate(node.operand));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const ArgumentValues arguments, EvaluateArguments(node.arguments));
  absl::Status charged = Charge(CostOfTest(operand, arguments));
  if (!charged.ok()) return At(expression.at, charged);
  const absl::StatusOr<bool> holds = RunTest(node.name, operand, arguments);
  if (!holds.ok()) return At(expression.at, holds.status());
  return Value(*holds);
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression, const Unary& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value operand, Evaluate(node.operand));
  if (node.op == Unary::Operator::kNot) return Value(!operand.truth());
  ValueOr value = Negate(operand);
  if (value.ok() && node.op == Unary::Operator::kPlus) return operand;
  if (!value.ok()) return At(expression.at, value.status());
  return value;
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression, const Binary& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value left, Evaluate(node.left));
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value right, Evaluate(node.right));
  absl::Status charged = Charge(CostOfBinary(node.op, left, right));
  if (!charged.ok()) return At(expression.at, charged);
  ValueOr value = Apply(node.op, left, right);
  return Made(expression.at, std::move(value));
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression&, const Logical& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(Value left, Evaluate(node.left));
  if (left.truth() != node.is_and) return left;
  return Evaluate(node.right);
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression& expression,
                                               const Comparison& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(Value left, Evaluate(node.first));
  for (const auto& [op, operand] : node.rest) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(Value right, Evaluate(operand));
    absl::Status charged = Charge(CostOfComparison(op, left, right));
    if (!charged.ok()) return At(expression.at, charged);
    const absl::StatusOr<bool> holds = Compare(op, left, right);
    if (!holds.ok()) return At(expression.at, holds.status());
    if (!*holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Interpreter::ValueOr Interpreter::EvaluateNode(const Expression&, const Conditional& node) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value condition, Evaluate(node.condition));
  return Evaluate(condition.truth() ? node.value : node.otherwise);
}

// Calls.

Interpreter::ValueOr Interpreter::CallGlobal(std::string_view name,
                                             const ArgumentValues& arguments) {
  if (name == "raise_exception") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"message"}, 1));
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text message, ToText(values[0]));
    return Invalid({message.bytes()});
  }
  if (name == "strftime_now") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(const auto values, Bind(name, arguments, {"format"}, 1));
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Text* format, TextArgument(name, "format", values[0]));
    return FormatTime(*format, now_);
  }
  if (name == "range") {
    if (arguments.positional.empty() || arguments.positional.size() > 3 ||
        !arguments.named.empty()) {
      return Invalid({"'range' takes one to three arguments"});
    }
    int64_t numbers[3] = {0, 0, 1};  // Start, stop, step.
    for (size_t i = 0; i < arguments.positional.size(); ++i) {
      const size_t place = arguments.positional.size() == 1 ? 1 : i;
      KVASIR_JINJA_ASSIGN_OR_RETURN(
          numbers[place], IntegerArgument(name, "each argument", arguments.positional[i]));
    }
    const auto [start, stop, step] = numbers;
    if (step == 0) return Invalid({"'range': the step cannot be 0"});
    std::vector<Value> items;
    for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
      if (items.size() >= kMaxListItems) {
        return Exhausted({"'range' gives more than ", std::to_string(kMaxListItems), " numbers"});
      }
      items.emplace_back(static_cast<int64_t>(i));
    }
    KVASIR_JINJA_RETURN_IF_ERROR(Charge(static_cast<int64_t>(items.size())));
    return Value(List(std::move(items), List::Kind::kView));
  }
  if (!arguments.positional.empty()) {
    return Invalid({"'", name, "' takes named arguments alone"});
  }
  if (name == "dict") {
    Dict dict;
    for (const auto& [key, value] : arguments.named) dict.Set(key, value);
    return Value(std::move(dict));
  }
  Namespace& space = namespaces_.emplace_back();
  for (const auto& [key, value] : arguments.named) space.Set(key, value);
  return Value(&space);
}

absl::Status Interpreter::BindParameters(const Macro& macro, const ArgumentValues& arguments) {
  if (arguments.positional.size() > macro.parameters.size()) {
    return Invalid({"the macro '", macro.name, "' takes at most ",
                    std::to_string(macro.parameters.size()), " arguments, not ",
                    std::to_string(arguments.positional.size())});
  }
  for (const auto& argument : arguments.named) {
    const std::string& name = argument.first;
    const auto known =
        std::find_if(macro.parameters.begin(), macro.parameters.end(),
                     [&](const Macro::Parameter& parameter) { return parameter.name == name; });
    if (known == macro.parameters.end()) {
      return Invalid({"the macro '", macro.name, "' has no argument '", name, "'"});
    }
    if (known - macro.parameters.begin() < arguments.positional.size()) {
      return Invalid({"the macro '", macro.name, "' got the argument '", name, "' twice"});
    }
  }
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Macro::Parameter& parameter = macro.parameters[i];
    Value value;
    const auto named =
        std::find_if(arguments.named.begin(), arguments.named.end(),
                     [&](const auto& argument) { return argument.first == parameter.name; });
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (named != arguments.named.end()) {
      value = named->second;
    } else if (parameter.default_value != nullptr) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(value, Evaluate(parameter.default_value));
    } else {
      value = Value::UndefinedBecause("parameter '" + parameter.name + "' was not provided");
    }
    scopes_.back().emplace_back(parameter.name, std::move(value));
  }
  return absl::OkStatus();
}

Interpreter::ValueOr Interpreter::CallMacro(Position at, const Macro& macro,
                                            const ArgumentValues& arguments) {
  if (macro_calls_ >= kMaxDepth) {
    return At(at, Exhausted({"macros call each other deeper than ", std::to_string(kMaxDepth)}));
  }
  scopes_.emplace_back();
  ++macro_calls_;
  const size_t outer_visible = std::exchange(visible_from_, scopes_.size() - 1);
  const Finally leave([&] {
    scopes_.pop_back();
    --macro_calls_;
    visible_from_ = outer_visible;
  });
  absl::Status bound = BindParameters(macro, arguments);
  if (!bound.ok()) return At(at, bound);
  KVASIR_JINJA_ASSIGN_OR_RETURN(Text text, Capture(macro.body));
  return Value(std::move(text));
}

}  // namespace kvasir::jinja

#include "tokenizer/jinja/interpreter.h"

#include <algorithm>
#include <utility>

#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/finally.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"

namespace kvasir::jinja {
Interpreter::Interpreter(const Dict& variables, std::time_t now)
    : variables_(variables), now_(now), scopes_(1) {}

absl::StatusOr<Text> Interpreter::Run(const Body& body) {
  KVASIR_JINJA_RETURN_IF_ERROR(Execute(body).status());
  return std::move(output_);
}

absl::Status Interpreter::Charge(int64_t steps) {
  steps_ += steps;
  if (steps_ <= kMaxSteps) return absl::OkStatus();
  return Exhausted({"the template takes more than ", std::to_string(kMaxSteps), " steps"});
}

// Statements.

Interpreter::FlowOr Interpreter::Execute(const Body& body) {
  if (nesting_ >= kMaxNesting) {
    return Exhausted({"the template nests deeper than ", std::to_string(kMaxNesting)});
  }
  ++nesting_;
  const Finally leave([&] { --nesting_; });
  for (const Statement& statement : body) {
    if (absl::Status status = Charge(1); !status.ok()) return At(statement.at, status);
    const FlowOr flow = std::visit([&](const auto& node) { return Execute(node); }, statement.node);
    if (!flow.ok()) return flow;
    if (*flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

absl::Status Interpreter::Emit(const Text& text) {
  KVASIR_JINJA_RETURN_IF_ERROR(Charge(static_cast<int64_t>(text.size() / 64)));
  if (output_.size() + text.size() > kMaxTextBytes) {
    return Exhausted({"the output is longer than ", std::to_string(kMaxTextBytes), " bytes"});
  }
  output_.Append(text);
  return absl::OkStatus();
}

Interpreter::FlowOr Interpreter::Execute(const OutputText& statement) {
  KVASIR_JINJA_RETURN_IF_ERROR(Emit(Text(statement.text, /*trusted=*/true)));
  return Flow::kNormal;
}

Interpreter::FlowOr Interpreter::Execute(const OutputExpression& statement) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value value, Evaluate(statement.expression));
  absl::Status status;
  if (const Text* text = value.text()) {
    status = Emit(*text);
  } else {
    const absl::StatusOr<Text> printed = ToText(value);
    status = printed.ok() ? Emit(*printed) : printed.status();
  }
  if (!status.ok()) return At(statement.expression->at, status);
  return Flow::kNormal;
}

Interpreter::FlowOr Interpreter::Execute(const If& statement) {
  for (const If::Branch& branch : statement.branches) {
    if (branch.condition != nullptr) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(const Value condition, Evaluate(branch.condition));
      if (!condition.truth()) continue;
    }
    return Execute(branch.body);
  }
  return Flow::kNormal;
}

absl::StatusOr<std::vector<Value>> Interpreter::ItemsOf(const For& statement) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value iterable, Evaluate(statement.iterable));
  absl::StatusOr<std::vector<Value>> items = Iterate(iterable);
  if (!items.ok()) return At(statement.iterable->at, items.status());
  KVASIR_JINJA_RETURN_IF_ERROR(Charge(static_cast<int64_t>(items->size())));
  if (statement.condition == nullptr) return items;
  std::vector<Value> kept;
  scopes_.emplace_back();
  const Finally leave([&] { scopes_.pop_back(); });
  for (const Value& item : *items) {
    absl::Status assigned = Assign(statement.target, item);
    if (!assigned.ok()) return At(statement.iterable->at, assigned);
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Value condition, Evaluate(statement.condition));
    if (condition.truth()) kept.push_back(item);
  }
  return kept;
}

Interpreter::FlowOr Interpreter::Execute(const For& statement) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Value> items, ItemsOf(statement));
  // As Jinja has it, `else` is for a loop of which no turn came to its end.
  bool any_ended = false;
  const auto loop = std::make_shared<Loop>(Loop{List(std::move(items))});
  const Value loop_value{std::shared_ptr<const Loop>(loop)};
  for (; loop->index < loop->items.size(); ++loop->index) {
    scopes_.emplace_back();
    const Finally leave_scope([&] { scopes_.pop_back(); });
    scopes_.back().emplace_back("loop", loop_value);
    absl::Status assigned = Assign(statement.target, loop->items.items()[loop->index]);
    if (!assigned.ok()) return At(statement.iterable->at, assigned);
    KVASIR_JINJA_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body));
    if (flow == Flow::kBreak) break;
    any_ended = any_ended || flow == Flow::kNormal;
  }
  if (any_ended) return Flow::kNormal;
  scopes_.emplace_back();
  const Finally leave([&] { scopes_.pop_back(); });
  return Execute(statement.otherwise);
}

Interpreter::FlowOr Interpreter::Execute(const Set& statement) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const Value value, Evaluate(statement.value));
  absl::Status assigned = Assign(statement.target, value);
  if (!assigned.ok()) return At(statement.value->at, assigned);
  return Flow::kNormal;
}

absl::StatusOr<Text> Interpreter::Capture(const Body& body) {
  Text outer = std::exchange(output_, Text());
  const FlowOr flow = Execute(body);
  Text captured = std::exchange(output_, std::move(outer));
  if (!flow.ok()) return flow.status();
  return captured;
}

Interpreter::FlowOr Interpreter::Execute(const SetBlock& statement) {
  scopes_.emplace_back();
  absl::StatusOr<Text> text = Capture(statement.body);
  scopes_.pop_back();
  if (!text.ok()) return text.status();
  KVASIR_JINJA_RETURN_IF_ERROR(Assign(statement.target, Value(*std::move(text))));
  return Flow::kNormal;
}

Interpreter::FlowOr Interpreter::Execute(const Block& statement) {
  scopes_.emplace_back();
  const Finally leave([&] { scopes_.pop_back(); });
  return Execute(statement.body);
}

Interpreter::FlowOr Interpreter::Execute(const MacroDefinition& statement) {
  const Macro& macro = *statement.macro;
  SetVariable(macro.name, Value(Function{Function::Kind::kMacro, macro.name, Value(), &macro}));
  return Flow::kNormal;
}

void Interpreter::SetVariable(std::string_view name, Value value) {
  Scope& scope = scopes_.back();
  const auto found = std::find_if(scope.begin(), scope.end(),
                                  [&](const auto& variable) { return variable.first == name; });
  if (found != scope.end()) {
    found->second = std::move(value);
  } else {
    scope.emplace_back(name, std::move(value));
  }
}

absl::Status Interpreter::Assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    const auto reference =
        std::make_unique<Expression>(Expression{Position(), 1, NameReference{target.names[0]}});
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        const Value space, EvaluateNode(*reference, std::get<NameReference>(reference->node)));
    if (space.space() == nullptr) {
      return Invalid({"'", target.names[0], "' is no namespace: its attribute cannot be set"});
    }
    space.space()->Set(target.attribute, value);
    return absl::OkStatus();
  }
  if (!target.unpacks) {
    SetVariable(target.names[0], value);
    return absl::OkStatus();
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
  if (items.size() != target.names.size()) {
    return Invalid({std::to_string(target.names.size()), " names for ",
                    std::to_string(items.size()), " values"});
  }
  for (size_t i = 0; i < items.size(); ++i) SetVariable(target.names[i], items[i]);
  return absl::OkStatus();
}

}  // namespace kvasir::jinja

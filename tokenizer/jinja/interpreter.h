#ifndef KVASIR_TOKENIZER_JINJA_INTERPRETER_H_
#define KVASIR_TOKENIZER_JINJA_INTERPRETER_H_

#include <cstdint>
#include <ctime>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/tree.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// One rendering of one template: walks its tree under the limits of limits.h.
class Interpreter {
 public:
  // REQUIRES: `variables` outlives this.
  Interpreter(const Dict& variables, std::time_t now);

  absl::StatusOr<Text> Run(const Body& body);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  using ValueOr = absl::StatusOr<Value>;
  using FlowOr = absl::StatusOr<Flow>;
  // The names that one scope has set; scopes_[0] is the template's own.
  using Scope = std::vector<std::pair<std::string_view, Value>>;

  // Counts `steps`, or says that there were too many.
  absl::Status Charge(int64_t steps);

  FlowOr Execute(const Body& body);
  FlowOr Execute(const OutputText& statement);
  FlowOr Execute(const OutputExpression& statement);
  FlowOr Execute(const If& statement);
  FlowOr Execute(const For& statement);
  FlowOr Execute(const Set& statement);
  FlowOr Execute(const SetBlock& statement);
  FlowOr Execute(const MacroDefinition& statement);
  FlowOr Execute(const Block& statement);
  FlowOr Execute(const Break&) { return Flow::kBreak; }
  FlowOr Execute(const Continue&) { return Flow::kContinue; }
  // The items that `statement` goes through, its condition applied.
  absl::StatusOr<std::vector<Value>> ItemsOf(const For& statement);
  // What `body` prints, in place of its going to the output.
  absl::StatusOr<Text> Capture(const Body& body);
  absl::Status Emit(const Text& text);
  // In the innermost scope. REQUIRES: `name` outlives the rendering.
  void SetVariable(std::string_view name, Value value);
  Value Lookup(const std::string& name) const;
  absl::Status Assign(const Target& target, const Value& value);

  // Null: undefined.
  ValueOr Evaluate(const ExpressionPtr& expression);
  ValueOr EvaluateNode(const Expression& expression, const Literal& node);
  ValueOr EvaluateNode(const Expression& expression, const NameReference& node);
  ValueOr EvaluateNode(const Expression& expression, const ListDisplay& node);
  ValueOr EvaluateNode(const Expression& expression, const DictDisplay& node);
  ValueOr EvaluateNode(const Expression& expression, const GetAttribute& node);
  ValueOr EvaluateNode(const Expression& expression, const GetItem& node);
  ValueOr EvaluateNode(const Expression& expression, const GetSlice& node);
  ValueOr EvaluateNode(const Expression& expression, const CallExpression& node);
  ValueOr EvaluateNode(const Expression& expression, const FilterExpression& node);
  ValueOr EvaluateNode(const Expression& expression, const TestExpression& node);
  ValueOr EvaluateNode(const Expression& expression, const Unary& node);
  ValueOr EvaluateNode(const Expression& expression, const Binary& node);
  ValueOr EvaluateNode(const Expression& expression, const Logical& node);
  ValueOr EvaluateNode(const Expression& expression, const Comparison& node);
  ValueOr EvaluateNode(const Expression& expression, const Conditional& node);

  // What an operation at `at` gave: charged for, or its error with the position.
  ValueOr Made(Position at, ValueOr value);
  absl::StatusOr<ArgumentValues> EvaluateArguments(const Arguments& arguments);
  ValueOr CallGlobal(std::string_view name, const ArgumentValues& arguments);
  ValueOr CallMacro(Position at, const Macro& macro, const ArgumentValues& arguments);
  // Puts the macro's parameters into the innermost scope.
  absl::Status BindParameters(const Macro& macro, const ArgumentValues& arguments);

  const Dict& variables_;
  const std::time_t now_;
  std::vector<Scope> scopes_;
  // Scopes below this index, but for scopes_[0], are hidden: a macro does not see its caller.
  size_t visible_from_ = 0;
  std::deque<Namespace> namespaces_;
  Text output_;
  int64_t steps_ = 0;
  int nesting_ = 0;
  int macro_calls_ = 0;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_INTERPRETER_H_

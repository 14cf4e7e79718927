#include "tokenizer/jinja/expression_parser.h"

#include <algorithm>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/tests.h"

namespace kvasir::jinja {
namespace {

absl::Status TooDeep(Position at) {
  return At(at, Exhausted({"the expression nests deeper than ", std::to_string(kMaxDepth)}));
}

int DepthOf(const ExpressionPtr& expression) {
  return expression == nullptr ? 0 : expression->depth;
}

int DepthOf(const Arguments& arguments) {
  int depth = 0;
  for (const ExpressionPtr& argument : arguments.positional) {
    depth = std::max(depth, DepthOf(argument));
  }
  for (const auto& [name, argument] : arguments.named) depth = std::max(depth, DepthOf(argument));
  return depth;
}

}  // namespace

template <typename Node>
absl::StatusOr<ExpressionPtr> ExpressionParser::Make(Position at, Node node, int depth_below) {
  if (depth_below >= kMaxDepth) return TooDeep(at);
  auto expression = std::make_unique<Expression>();
  expression->at = at;
  expression->depth = depth_below + 1;
  expression->node = std::move(node);
  return expression;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::Parse(bool commas) {
  return commas ? ParseTuple(&ExpressionParser::ParseConditional) : ParseConditional();
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseWithoutCondition() {
  return ParseTuple(&ExpressionParser::ParseOr);
}

ExpressionParser::Result ExpressionParser::ParseTuple(Level item_level) {
  const Position at = tokens_.at();
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*item_level)());
  if (!tokens_.AtOperator(",")) return first;
  int depth = first->depth;
  ListDisplay tuple{.is_tuple = true};
  tuple.items.push_back(std::move(first));
  while (tokens_.SkipOperator(",")) {
    const Token::Kind next = tokens_.Peek().kind;
    if (next == Token::Kind::kBlockEnd || next == Token::Kind::kVariableEnd ||
        tokens_.AtOperator(")") || tokens_.AtOperator("=")) {
      break;
    }
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr item, (this->*item_level)());
    depth = std::max(depth, item->depth);
    tuple.items.push_back(std::move(item));
  }
  return Make(at, std::move(tuple), depth);
}

ExpressionParser::Result ExpressionParser::ParseConditional() {
  if (nesting_ >= kMaxDepth) return TooDeep(tokens_.at());
  ++nesting_;
  Result value = ParseOr();
  while (value.ok() && tokens_.AtName("if")) {
    const Position at = tokens_.Next().at;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (tokens_.SkipName("else")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(otherwise, ParseConditional());
    }
    const int depth = std::max({condition->depth, DepthOf(*value), DepthOf(otherwise)});
    value =
        Make(at, Conditional{std::move(condition), *std::move(value), std::move(otherwise)}, depth);
  }
  --nesting_;
  return value;
}

ExpressionParser::Result ExpressionParser::ParseOr() {
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  while (tokens_.AtName("or")) {
    const Position at = tokens_.Next().at;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    const int depth = std::max(left->depth, right->depth);
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        left, Make(at, Logical{false, std::move(left), std::move(right)}, depth));
  }
  return left;
}

ExpressionParser::Result ExpressionParser::ParseAnd() {
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  while (tokens_.AtName("and")) {
    const Position at = tokens_.Next().at;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    const int depth = std::max(left->depth, right->depth);
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        left, Make(at, Logical{true, std::move(left), std::move(right)}, depth));
  }
  return left;
}

ExpressionParser::Result ExpressionParser::ParseNot() {
  std::vector<Position> nots;
  while (tokens_.AtName("not")) nots.push_back(tokens_.Next().at);
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseComparison());
  for (; !nots.empty(); nots.pop_back()) {
    const int depth = operand->depth;
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        operand, Make(nots.back(), Unary{Unary::Operator::kNot, std::move(operand)}, depth));
  }
  return operand;
}

ExpressionParser::Result ExpressionParser::ParseComparison() {
  using Op = Comparison::Operator;
  static constexpr std::pair<std::string_view, Op> kOperators[] = {
      {"==", Op::kEqual},     {"!=", Op::kNotEqual}, {"<", Op::kLess},
      {"<=", Op::kLessEqual}, {">", Op::kGreater},   {">=", Op::kGreaterEqual}};
  const Position at = tokens_.at();
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  int depth = first->depth;
  Comparison comparison;
  while (true) {
    std::optional<Op> op;
    for (const auto& [word, candidate] : kOperators) {
      if (!op.has_value() && tokens_.SkipOperator(word)) op = candidate;
    }
    if (!op.has_value() && tokens_.SkipName("in")) op = Op::kIn;
    if (!op.has_value() && tokens_.AtName("not") && tokens_.AtName("in", 1)) {
      tokens_.Next();
      tokens_.Next();
      op = Op::kNotIn;
    }
    if (!op.has_value()) break;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr right, ParseSum());
    depth = std::max(depth, right->depth);
    comparison.rest.emplace_back(*op, std::move(right));
  }
  if (comparison.rest.empty()) return first;
  comparison.first = std::move(first);
  return Make(at, std::move(comparison), depth);
}

ExpressionParser::Result ExpressionParser::ParseBinary(
    Level operand, const std::vector<std::pair<std::string_view, Binary::Operator>>& operators) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr left, (this->*operand)());
  while (true) {
    const Position at = tokens_.at();
    const auto found = std::find_if(operators.begin(), operators.end(),
                                    [&](const auto& op) { return tokens_.SkipOperator(op.first); });
    if (found == operators.end()) return left;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr right, (this->*operand)());
    const int depth = std::max(left->depth, right->depth);
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        left, Make(at, Binary{found->second, std::move(left), std::move(right)}, depth));
  }
}

ExpressionParser::Result ExpressionParser::ParseSum() {
  return ParseBinary(&ExpressionParser::ParseConcatenation,
                     {{"+", Binary::Operator::kAdd}, {"-", Binary::Operator::kSubtract}});
}

ExpressionParser::Result ExpressionParser::ParseConcatenation() {
  return ParseBinary(&ExpressionParser::ParseProduct, {{"~", Binary::Operator::kConcatenate}});
}

ExpressionParser::Result ExpressionParser::ParseProduct() {
  return ParseBinary(&ExpressionParser::ParsePower, {{"*", Binary::Operator::kMultiply},
                                                     {"//", Binary::Operator::kFloorDivide},
                                                     {"/", Binary::Operator::kDivide},
                                                     {"%", Binary::Operator::kModulo}});
}

ExpressionParser::Result ExpressionParser::ParsePower() {
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr left, ParseUnary(true));
  while (tokens_.AtOperator("**")) {
    const Position at = tokens_.Next().at;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr right, ParseUnary(true));
    const int depth = std::max(left->depth, right->depth);
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        left, Make(at, Binary{Binary::Operator::kPower, std::move(left), std::move(right)}, depth));
  }
  return left;
}

ExpressionParser::Result ExpressionParser::ParseUnary(bool with_filters) {
  std::vector<std::pair<Position, Unary::Operator>> signs;
  while (tokens_.AtOperator("-") || tokens_.AtOperator("+")) {
    const Unary::Operator op =
        tokens_.AtOperator("-") ? Unary::Operator::kNegate : Unary::Operator::kPlus;
    signs.emplace_back(tokens_.Next().at, op);
  }
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr operand, ParsePrimary());
  KVASIR_JINJA_ASSIGN_OR_RETURN(operand, ParsePostfix(std::move(operand)));
  for (; !signs.empty(); signs.pop_back()) {
    const int depth = operand->depth;
    KVASIR_JINJA_ASSIGN_OR_RETURN(
        operand, Make(signs.back().first, Unary{signs.back().second, std::move(operand)}, depth));
  }
  if (!with_filters) return operand;
  return ParseFilters(std::move(operand));
}

ExpressionParser::Result ExpressionParser::ParsePrimary() {
  const Position at = tokens_.at();
  const Token& token = tokens_.Peek();
  switch (token.kind) {
    case Token::Kind::kName: {
      const std::string name = tokens_.Next().text;
      if (name == "true" || name == "True") return Make(at, Literal{Value(true)}, 0);
      if (name == "false" || name == "False") return Make(at, Literal{Value(false)}, 0);
      if (name == "none" || name == "None") return Make(at, Literal{Value(Value::None())}, 0);
      return Make(at, NameReference{name}, 0);
    }
    case Token::Kind::kString: {
      std::string text = tokens_.Next().text;
      while (tokens_.Peek().kind == Token::Kind::kString) text += tokens_.Next().text;
      return Make(at, Literal{Value::Trusted(text)}, 0);
    }
    case Token::Kind::kInteger:
      return Make(at, Literal{Value(tokens_.Next().integer)}, 0);
    case Token::Kind::kFloat:
      return Make(at, Literal{Value(tokens_.Next().real)}, 0);
    default:
      break;
  }
  if (tokens_.AtOperator("(")) return ParseBrackets();
  if (tokens_.AtOperator("[")) return ParseList();
  if (tokens_.AtOperator("{")) return ParseDict();
  return tokens_.Unexpected("an expression");
}

ExpressionParser::Result ExpressionParser::ParseBrackets() {
  const Position at = tokens_.Next().at;
  if (tokens_.SkipOperator(")")) return Make(at, ListDisplay{.is_tuple = true}, 0);
  KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr inner, Parse(/*commas=*/true));
  KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
  return inner;
}

ExpressionParser::Result ExpressionParser::ParseList() {
  const Position at = tokens_.Next().at;
  ListDisplay list;
  int depth = 0;
  while (!tokens_.SkipOperator("]")) {
    if (!list.items.empty()) KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    if (tokens_.SkipOperator("]")) break;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr item, ParseConditional());
    depth = std::max(depth, item->depth);
    list.items.push_back(std::move(item));
  }
  return Make(at, std::move(list), depth);
}

ExpressionParser::Result ExpressionParser::ParseDict() {
  const Position at = tokens_.Next().at;
  DictDisplay dict;
  int depth = 0;
  while (!tokens_.SkipOperator("}")) {
    if (!dict.entries.empty()) KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    if (tokens_.SkipOperator("}")) break;
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr key, ParseConditional());
    KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(":"));
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr value, ParseConditional());
    depth = std::max({depth, key->depth, value->depth});
    dict.entries.emplace_back(std::move(key), std::move(value));
  }
  return Make(at, std::move(dict), depth);
}

ExpressionParser::Result ExpressionParser::ParsePostfix(ExpressionPtr operand) {
  while (true) {
    const Position at = tokens_.at();
    if (tokens_.AtOperator(".") || tokens_.AtOperator("[")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(operand, ParseSubscript(std::move(operand), at));
    } else if (tokens_.AtOperator("(")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments());
      const int depth = std::max(operand->depth, DepthOf(arguments));
      KVASIR_JINJA_ASSIGN_OR_RETURN(
          operand, Make(at, CallExpression{std::move(operand), std::move(arguments)}, depth));
    } else {
      return operand;
    }
  }
}

ExpressionParser::Result ExpressionParser::ParseSubscript(ExpressionPtr object, Position at) {
  int depth = object->depth;
  if (tokens_.SkipOperator(".")) {
    if (tokens_.Peek().kind == Token::Kind::kInteger) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr index,
                                    Make(at, Literal{Value(tokens_.Next().integer)}, 0));
      return Make(at, GetItem{std::move(object), std::move(index)}, depth);
    }
    KVASIR_JINJA_ASSIGN_OR_RETURN(std::string name, tokens_.ExpectName("an attribute's name"));
    return Make(at, GetAttribute{std::move(object), std::move(name)}, depth);
  }
  tokens_.Next();
  ExpressionPtr parts[3];
  int colons = 0;
  while (!tokens_.AtOperator("]")) {
    if (colons < 2 && tokens_.SkipOperator(":")) {
      ++colons;
      continue;
    }
    if (parts[colons] != nullptr) break;
    KVASIR_JINJA_ASSIGN_OR_RETURN(parts[colons], ParseConditional());
    depth = std::max(depth, parts[colons]->depth);
  }
  if (colons == 0 && parts[0] == nullptr) return tokens_.Unexpected("an index");
  KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator("]"));
  if (colons == 0) return Make(at, GetItem{std::move(object), std::move(parts[0])}, depth);
  return Make(
      at,
      GetSlice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])},
      depth);
}

ExpressionParser::Result ExpressionParser::ParseFilters(ExpressionPtr operand) {
  while (true) {
    const Position at = tokens_.at();
    if (tokens_.AtOperator("|")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(operand, ParseFilter(std::move(operand)));
    } else if (tokens_.AtName("is")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(operand, ParseTest(std::move(operand)));
    } else if (tokens_.AtOperator("(")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments());
      const int depth = std::max(operand->depth, DepthOf(arguments));
      KVASIR_JINJA_ASSIGN_OR_RETURN(
          operand, Make(at, CallExpression{std::move(operand), std::move(arguments)}, depth));
    } else {
      return operand;
    }
  }
}

ExpressionParser::Result ExpressionParser::ParseFilter(ExpressionPtr operand) {
  tokens_.Next();
  const Position at = tokens_.at();
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::string name, tokens_.ExpectName("a filter's name"));
  if (!IsFilter(name)) return At(at, Invalid({"the filter '", name, "' is not supported"}));
  Arguments arguments;
  if (tokens_.AtOperator("(")) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(arguments, ParseArguments());
  }
  const int depth = std::max(operand->depth, DepthOf(arguments));
  return Make(at, FilterExpression{std::move(operand), std::move(name), std::move(arguments)},
              depth);
}

ExpressionParser::Result ExpressionParser::ParseTest(ExpressionPtr operand) {
  tokens_.Next();
  const bool negated = tokens_.SkipName("not");
  const Position at = tokens_.at();
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::string name, tokens_.ExpectName("a test's name"));
  if (!IsTest(name)) return At(at, Invalid({"the test '", name, "' is not supported"}));
  if (const auto* attribute = std::get_if<GetAttribute>(&operand->node)) {
    tested_attributes_.emplace(attribute->name, name);
  } else if (const auto* item = std::get_if<GetItem>(&operand->node)) {
    const auto* key = std::get_if<Literal>(&item->key->node);
    if (key != nullptr && key->value.text() != nullptr) {
      tested_attributes_.emplace(key->value.text()->bytes(), name);
    }
  }
  Arguments arguments;
  const Token::Kind next = tokens_.Peek().kind;
  const bool ends = tokens_.AtName("else") || tokens_.AtName("or") || tokens_.AtName("and") ||
                    tokens_.AtName("if") || tokens_.AtName("is");
  if (tokens_.AtOperator("(")) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(arguments, ParseArguments());
  } else if ((next == Token::Kind::kName && !ends) || next == Token::Kind::kString ||
             next == Token::Kind::kInteger || next == Token::Kind::kFloat ||
             tokens_.AtOperator("[") || tokens_.AtOperator("{")) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    KVASIR_JINJA_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    arguments.positional.push_back(std::move(argument));
  }
  int depth = std::max(operand->depth, DepthOf(arguments));
  KVASIR_JINJA_ASSIGN_OR_RETURN(
      ExpressionPtr test,
      Make(at, TestExpression{std::move(operand), std::move(name), std::move(arguments)}, depth));
  if (!negated) return test;
  depth = test->depth;
  return Make(at, Unary{Unary::Operator::kNot, std::move(test)}, depth);
}

absl::StatusOr<Arguments> ExpressionParser::ParseArguments() {
  tokens_.Next();
  Arguments arguments;
  while (!tokens_.SkipOperator(")")) {
    if (!arguments.positional.empty() || !arguments.named.empty()) {
      KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.SkipOperator(")")) break;
    }
    if (tokens_.AtOperator("*") || tokens_.AtOperator("**")) {
      return At(tokens_.at(),
                Invalid({"unpacking arguments with '", tokens_.Peek().text, "' is not supported"}));
    }
    const Position at = tokens_.at();
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr argument, ParseConditional());
    const auto* name = std::get_if<NameReference>(&argument->node);
    if (name != nullptr && tokens_.SkipOperator("=")) {
      std::string key = name->name;
      KVASIR_JINJA_ASSIGN_OR_RETURN(argument, ParseConditional());
      arguments.named.emplace_back(std::move(key), std::move(argument));
    } else if (!arguments.named.empty()) {
      return At(at, Invalid({"a positional argument follows a named one"}));
    } else {
      arguments.positional.push_back(std::move(argument));
    }
  }
  return arguments;
}

}  // namespace kvasir::jinja

#ifndef KVASIR_TOKENIZER_JINJA_EXPRESSION_PARSER_H_
#define KVASIR_TOKENIZER_JINJA_EXPRESSION_PARSER_H_

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/token_stream.h"
#include "tokenizer/jinja/tree.h"

namespace kvasir::jinja {

// Recursive descent with Jinja's precedences. An unknown filter or test is refused by name.
class ExpressionParser {
 public:
  // REQUIRES: `tokens` outlives this.
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  // An expression; where `commas`, also a tuple without brackets.
  absl::StatusOr<ExpressionPtr> Parse(bool commas);
  // Without an inline `if` at its end, as in `for x in THIS if ...` and {% if THIS %}; commas make
  // a tuple.
  absl::StatusOr<ExpressionPtr> ParseWithoutCondition();

  // Pairs (attribute, test) for every test of an attribute, such as `call.arguments is string`.
  std::set<std::pair<std::string, std::string>> TakeTestedAttributes() {
    return std::move(tested_attributes_);
  }

 private:
  using Result = absl::StatusOr<ExpressionPtr>;

  Result ParseConditional();
  Result ParseOr();
  Result ParseAnd();
  Result ParseNot();
  Result ParseComparison();
  Result ParseSum();
  Result ParseConcatenation();
  Result ParseProduct();
  Result ParsePower();
  Result ParseUnary(bool with_filters);
  Result ParsePrimary();
  Result ParsePostfix(ExpressionPtr operand);
  Result ParseFilters(ExpressionPtr operand);
  Result ParseFilter(ExpressionPtr operand);
  Result ParseTest(ExpressionPtr operand);
  Result ParseSubscript(ExpressionPtr object, Position at);
  Result ParseBrackets();
  Result ParseList();
  Result ParseDict();
  absl::StatusOr<Arguments> ParseArguments();

  using Level = Result (ExpressionParser::*)();
  // One item, or several with commas.
  Result ParseTuple(Level item_level);
  // Of one kind of operator, from left to right.
  Result ParseBinary(Level operand,
                     const std::vector<std::pair<std::string_view, Binary::Operator>>& operators);

  // The node, if its tree is not too deep.
  template <typename Node>
  Result Make(Position at, Node node, int depth_below);

  TokenStream& tokens_;
  int nesting_ = 0;
  std::set<std::pair<std::string, std::string>> tested_attributes_;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_EXPRESSION_PARSER_H_

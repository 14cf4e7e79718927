#include "tokenizer/jinja/parser.h"

#include <initializer_list>
#include <vector>

#include "tokenizer/jinja/expression_parser.h"
#include "tokenizer/jinja/lexer.h"
#include "tokenizer/jinja/limits.h"
#include "tokenizer/jinja/token_stream.h"

namespace kvasir::jinja {
namespace {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(tokens_) {}

  absl::StatusOr<ParsedTemplate> Run();

 private:
  using Words = std::initializer_list<std::string_view>;

  // Statements up to a block tag that starts with one of `ends` (which stays, its "{%" taken), or,
  // with none given, to the end of the template.
  absl::StatusOr<Body> ParseBody(Words ends, std::string_view opened_by = "");
  absl::StatusOr<Statement> ParseBlock(Position at);
  absl::StatusOr<If> ParseIf();
  absl::StatusOr<For> ParseFor();
  absl::StatusOr<Statement> ParseSet(Position at);
  absl::StatusOr<MacroDefinition> ParseMacro(Position at);
  absl::StatusOr<Target> ParseTarget(bool may_be_attribute);

  absl::Status ExpectBlockEnd() { return tokens_.Expect(Token::Kind::kBlockEnd, "'%}'"); }
  // The word that ended a body, and its "%}".
  absl::Status Close();

  TokenStream tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int loops_ = 0;
  // Whether a macro may be defined here: where its body sees the template's own variables alone.
  bool top_level_ = true;
};

absl::StatusOr<ParsedTemplate> Parser::Run() {
  ParsedTemplate parsed;
  KVASIR_JINJA_ASSIGN_OR_RETURN(parsed.body, ParseBody({}));
  parsed.tested_attributes = expressions_.TakeTestedAttributes();
  return parsed;
}

absl::StatusOr<Body> Parser::ParseBody(Words ends, std::string_view opened_by) {
  if (nesting_ >= kMaxDepth) {
    return At(tokens_.at(), Exhausted({"blocks nest deeper than ", std::to_string(kMaxDepth)}));
  }
  ++nesting_;
  Body body;
  while (true) {
    Token token = tokens_.Next();
    if (token.kind == Token::Kind::kEnd) {
      if (ends.size() == 0) break;
      return At(token.at, Invalid({"'", opened_by, "' is not closed"}));
    }
    if (token.kind == Token::Kind::kData) {
      body.push_back({token.at, OutputText{std::move(token.text)}});
      continue;
    }
    if (token.kind == Token::Kind::kVariableBegin) {
      const Position at = tokens_.at();
      KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.Parse(/*commas=*/true));
      KVASIR_JINJA_RETURN_IF_ERROR(tokens_.Expect(Token::Kind::kVariableEnd, "'}}'"));
      body.push_back({at, OutputExpression{std::move(value)}});
      continue;
    }
    bool ended = false;
    for (std::string_view end : ends) ended = ended || tokens_.AtName(end);
    if (ended) break;
    KVASIR_JINJA_ASSIGN_OR_RETURN(Statement statement, ParseBlock(tokens_.at()));
    body.push_back(std::move(statement));
  }
  --nesting_;
  return body;
}

absl::Status Parser::Close() {
  tokens_.Next();
  return ExpectBlockEnd();
}

absl::StatusOr<Statement> Parser::ParseBlock(Position at) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(const std::string word, tokens_.ExpectName("a statement"));
  if (word == "if") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(If statement, ParseIf());
    return Statement{at, std::move(statement)};
  }
  if (word == "for") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(For statement, ParseFor());
    return Statement{at, std::move(statement)};
  }
  if (word == "set") return ParseSet(at);
  if (word == "macro") {
    KVASIR_JINJA_ASSIGN_OR_RETURN(MacroDefinition statement, ParseMacro(at));
    return Statement{at, std::move(statement)};
  }
  if (word == "generation") {  // Marks what the assistant wrote, for training.
    KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
    KVASIR_JINJA_ASSIGN_OR_RETURN(Body body, ParseBody({"endgeneration"}, word));
    KVASIR_JINJA_RETURN_IF_ERROR(Close());
    return Statement{at, Block{std::move(body)}};
  }
  if (word == "break" || word == "continue") {
    if (loops_ == 0) return At(at, Invalid({"'", word, "' outside a loop"}));
    KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
    if (word == "break") return Statement{at, Break{}};
    return Statement{at, Continue{}};
  }
  if (word == "else" || word == "elif" || word.starts_with("end")) {
    return At(at, Invalid({"unexpected '", word, "'"}));
  }
  return At(at, Invalid({"the statement '", word, "' is not supported"}));
}

absl::StatusOr<If> Parser::ParseIf() {
  If statement;
  while (true) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr condition, expressions_.ParseWithoutCondition());
    KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
    KVASIR_JINJA_ASSIGN_OR_RETURN(Body body, ParseBody({"elif", "else", "endif"}, "if"));
    statement.branches.push_back({std::move(condition), std::move(body)});
    if (!tokens_.SkipName("elif")) break;
  }
  if (tokens_.SkipName("else")) {
    KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
    KVASIR_JINJA_ASSIGN_OR_RETURN(Body body, ParseBody({"endif"}, "if"));
    statement.branches.push_back({nullptr, std::move(body)});
  }
  KVASIR_JINJA_RETURN_IF_ERROR(Close());
  return statement;
}

absl::StatusOr<For> Parser::ParseFor() {
  For statement;
  const bool outer_top_level = std::exchange(top_level_, false);
  KVASIR_JINJA_ASSIGN_OR_RETURN(statement.target, ParseTarget(/*may_be_attribute=*/false));
  if (!tokens_.SkipName("in")) return tokens_.Unexpected("'in'");
  KVASIR_JINJA_ASSIGN_OR_RETURN(statement.iterable, expressions_.ParseWithoutCondition());
  if (tokens_.SkipName("if")) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(statement.condition, expressions_.Parse(/*commas=*/false));
  }
  if (tokens_.AtName("recursive")) {
    return At(tokens_.at(), Invalid({"'recursive' is not supported in a loop"}));
  }
  KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
  ++loops_;
  KVASIR_JINJA_ASSIGN_OR_RETURN(statement.body, ParseBody({"else", "endfor"}, "for"));
  --loops_;
  if (tokens_.SkipName("else")) {
    KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
    KVASIR_JINJA_ASSIGN_OR_RETURN(statement.otherwise, ParseBody({"endfor"}, "for"));
  }
  top_level_ = outer_top_level;
  KVASIR_JINJA_RETURN_IF_ERROR(Close());
  return statement;
}

absl::StatusOr<Target> Parser::ParseTarget(bool may_be_attribute) {
  Target target;
  const bool bracket = tokens_.SkipOperator("(");
  do {
    if (!target.names.empty() && tokens_.Peek().kind != Token::Kind::kName) break;
    KVASIR_JINJA_ASSIGN_OR_RETURN(std::string name, tokens_.ExpectName("a name to assign to"));
    target.names.push_back(std::move(name));
    if (may_be_attribute && target.names.size() == 1 && tokens_.SkipOperator(".")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(target.attribute, tokens_.ExpectName("an attribute's name"));
      return target;
    }
    target.unpacks = target.unpacks || tokens_.AtOperator(",");
  } while (tokens_.SkipOperator(","));
  if (bracket) KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
  return target;
}

absl::StatusOr<Statement> Parser::ParseSet(Position at) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(Target target, ParseTarget(/*may_be_attribute=*/true));
  if (tokens_.SkipOperator("=")) {
    KVASIR_JINJA_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.Parse(/*commas=*/true));
    KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
    return Statement{at, Set{std::move(target), std::move(value)}};
  }
  if (tokens_.AtOperator("|")) {
    return At(tokens_.at(), Invalid({"a filter on a 'set' block is not supported"}));
  }
  KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
  KVASIR_JINJA_ASSIGN_OR_RETURN(Body body, ParseBody({"endset"}, "set"));
  KVASIR_JINJA_RETURN_IF_ERROR(Close());
  return Statement{at, SetBlock{std::move(target), std::move(body)}};
}

absl::StatusOr<MacroDefinition> Parser::ParseMacro(Position at) {
  if (!top_level_) {
    return At(at, Invalid({"'macro' inside a loop or another macro is not supported"}));
  }
  auto macro = std::make_unique<Macro>();
  KVASIR_JINJA_ASSIGN_OR_RETURN(macro->name, tokens_.ExpectName("the macro's name"));
  KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator("("));
  while (!tokens_.SkipOperator(")")) {
    if (!macro->parameters.empty()) KVASIR_JINJA_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    Macro::Parameter parameter;
    KVASIR_JINJA_ASSIGN_OR_RETURN(parameter.name, tokens_.ExpectName("a parameter's name"));
    if (tokens_.SkipOperator("=")) {
      KVASIR_JINJA_ASSIGN_OR_RETURN(parameter.default_value, expressions_.Parse(/*commas=*/false));
    }
    macro->parameters.push_back(std::move(parameter));
  }
  KVASIR_JINJA_RETURN_IF_ERROR(ExpectBlockEnd());
  top_level_ = false;
  const int outer_loops = std::exchange(loops_, 0);
  KVASIR_JINJA_ASSIGN_OR_RETURN(macro->body, ParseBody({"endmacro"}, "macro"));
  loops_ = outer_loops;
  top_level_ = true;
  KVASIR_JINJA_RETURN_IF_ERROR(Close());
  return MacroDefinition{std::move(macro)};
}

}  // namespace

absl::StatusOr<ParsedTemplate> ParseTemplate(std::string_view source) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace kvasir::jinja

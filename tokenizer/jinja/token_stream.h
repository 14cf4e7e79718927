#ifndef KVASIR_TOKENIZER_JINJA_TOKEN_STREAM_H_
#define KVASIR_TOKENIZER_JINJA_TOKEN_STREAM_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tokenizer/jinja/lexer.h"

namespace kvasir::jinja {

// The parser's place in a template's tokens.
class TokenStream {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  // The token is the caller's to take; only kEnd stays.
  Token Next() {
    if (next_ + 1 == tokens_.size()) return tokens_[next_];
    return std::move(tokens_[next_++]);
  }
  Position at() const { return Peek().at; }

  bool AtName(std::string_view name, size_t ahead = 0) const {
    return Peek(ahead).kind == Token::Kind::kName && Peek(ahead).text == name;
  }
  bool AtOperator(std::string_view op) const {
    return Peek().kind == Token::Kind::kOperator && Peek().text == op;
  }
  bool SkipName(std::string_view name) { return AtName(name) && Skip(); }
  bool SkipOperator(std::string_view op) { return AtOperator(op) && Skip(); }

  absl::Status Expect(Token::Kind kind, std::string_view what) {
    if (Peek().kind != kind) return Unexpected(what);
    Next();
    return absl::OkStatus();
  }
  absl::Status ExpectOperator(std::string_view op) {
    return SkipOperator(op) ? absl::OkStatus() : Unexpected(Concat({"'", op, "'"}));
  }
  absl::StatusOr<std::string> ExpectName(std::string_view what) {
    if (Peek().kind != Token::Kind::kName) return Unexpected(what);
    return Next().text;
  }
  // "expected WHAT, found ..." at the next token.
  absl::Status Unexpected(std::string_view what) const {
    return At(at(), Invalid({"expected ", what, ", found '", Peek().text, "'"}));
  }

 private:
  bool Skip() {
    Next();
    return true;
  }

  std::vector<Token> tokens_;
  size_t next_ = 0;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_TOKEN_STREAM_H_

#ifndef KVASIR_SERVICES_GATEWAY_ANSWER_READER_H_
#define KVASIR_SERVICES_GATEWAY_ANSWER_READER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "services/gateway/answer_parser.h"
#include "services/gateway/stop_matcher.h"
#include "services/gateway/token_table.h"

namespace kvasir::gateway {

// A generated token's log-probability, and those of the most probable in its place.
struct TokenScore {
  uint32_t id = 0;
  float logprob = 0;
  std::vector<std::pair<uint32_t, float>> alternatives;
};
// The same, with where the token's text begins in the answer's.
struct ShownScore {
  TokenScore score;
  size_t offset = 0;
};

enum class FinishedBy { kStop, kLength, kToolCalls };

// What a part of an answer adds to it.
struct AnswerDelta {
  AnswerPiece piece;
  std::vector<ShownScore> scores;  // of the tokens whose text is told by now
  std::optional<FinishedBy> finished;

  bool empty() const { return piece.empty() && scores.empty() && !finished.has_value(); }
};

// One delta more.
void Append(AnswerDelta&& delta, AnswerDelta& whole);

// Makes an answer of the tokens of one choice, as they come.
class AnswerReader {
 public:
  struct Options {
    std::vector<std::string> stop;
    bool plain = false;  // all text is the content: a completion, not a message
    bool begins_thinking = false;
    bool parses_tool_calls = false;
  };

  // REQUIRES: `table` outlives this.
  AnswerReader(const TokenTable& table, Options options);

  // `scores`: one for each id, or none.
  AnswerDelta Push(std::span<const uint32_t> ids, std::vector<TokenScore> scores);
  // The tokens have ended by themselves. REQUIRES: !stopped().
  AnswerDelta Finish(bool by_length);

  // A stop string came: the answer is finished, and what follows is not part of it.
  bool stopped() const { return matcher_.stopped(); }
  // Tokens so far, and those of them that were thought.
  uint64_t tokens() const { return tokens_; }
  uint64_t thought_tokens() const { return thought_tokens_; }

 private:
  struct Waiting {
    ShownScore shown;
    size_t end = 0;  // of its text
  };

  // `text`: known to be part of the answer.
  void Tell(const std::string& text, AnswerDelta& delta);
  void End(FinishedBy why, AnswerDelta& delta);

  const TokenTable& table_;
  const Options options_;
  TextDecoder decoder_;
  StopMatcher matcher_;
  std::optional<AnswerParser> parser_;  // nothing: plain
  std::deque<Waiting> waiting_;
  size_t decoded_ = 0, told_ = 0;  // bytes
  uint64_t tokens_ = 0, thought_tokens_ = 0;
  bool called_tools_ = false;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_ANSWER_READER_H_

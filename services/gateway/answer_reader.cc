#include "services/gateway/answer_reader.h"

#include <iterator>
#include <utility>

#include "engine/check.h"

namespace kvasir::gateway {
namespace {

void Append(AnswerPiece&& from, AnswerPiece& to) {
  to.reasoning += from.reasoning;
  to.content += from.content;
  std::move(from.tool_calls.begin(), from.tool_calls.end(), std::back_inserter(to.tool_calls));
}

}  // namespace

void Append(AnswerDelta&& delta, AnswerDelta& whole) {
  Append(std::move(delta.piece), whole.piece);
  std::move(delta.scores.begin(), delta.scores.end(), std::back_inserter(whole.scores));
  if (delta.finished.has_value()) whole.finished = delta.finished;
}

AnswerReader::AnswerReader(const TokenTable& table, Options options)
    : table_(table), options_(std::move(options)), decoder_(table), matcher_(options_.stop) {
  if (!options_.plain) parser_.emplace(options_.begins_thinking, options_.parses_tool_calls);
}

AnswerDelta AnswerReader::Push(std::span<const uint32_t> ids, std::vector<TokenScore> scores) {
  AnswerDelta delta;
  for (size_t i = 0; i < ids.size() && !stopped(); ++i) {
    const std::string text = decoder_.Push(ids[i]);
    ++tokens_;
    if (parser_.has_value() && parser_->thinking()) ++thought_tokens_;
    if (i < scores.size() && !table_.IsSpecial(ids[i])) {
      waiting_.push_back({{std::move(scores[i]), decoded_}, decoded_ + text.size()});
    }
    decoded_ += text.size();
    Tell(matcher_.Push(text), delta);
  }
  if (stopped()) End(FinishedBy::kStop, delta);
  return delta;
}

AnswerDelta AnswerReader::Finish(bool by_length) {
  KVASIR_CHECK(!stopped());
  AnswerDelta delta;
  Tell(matcher_.Push(decoder_.Finish()), delta);
  Tell(matcher_.Finish(), delta);
  End(by_length && !stopped() ? FinishedBy::kLength : FinishedBy::kStop, delta);
  return delta;
}

void AnswerReader::Tell(const std::string& text, AnswerDelta& delta) {
  told_ += text.size();
  while (!waiting_.empty() && waiting_.front().end <= told_) {
    delta.scores.push_back(std::move(waiting_.front().shown));
    waiting_.pop_front();
  }
  if (!parser_.has_value()) {
    delta.piece.content += text;
  } else if (!text.empty()) {
    Append(parser_->Push(text), delta.piece);
  }
  called_tools_ |= !delta.piece.tool_calls.empty();
}

void AnswerReader::End(FinishedBy why, AnswerDelta& delta) {
  if (parser_.has_value()) Append(parser_->Finish(), delta.piece);
  if (called_tools_ && why == FinishedBy::kStop) why = FinishedBy::kToolCalls;
  // Tokens whose text is told in part.
  for (Waiting& waiting : waiting_) {
    if (waiting.shown.offset < told_) delta.scores.push_back(std::move(waiting.shown));
  }
  waiting_.clear();
  delta.finished = why;
}

}  // namespace kvasir::gateway

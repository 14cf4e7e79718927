#include "services/token_stream.h"

#include <utility>

#include "services/model_messages.h"

namespace kvasir {

void TokenStream::Start(const GenerateStarted& started) { started_ = ToProto(started); }

void TokenStream::Append(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
                         std::span<const TokenLogprob> prompt_logprobs) {
  for (int id : ids) chunk_.add_ids(static_cast<uint32_t>(id));
  for (const TokenLogprob& logprob : logprobs) *chunk_.add_logprobs() = ToProto(logprob);
  for (const TokenLogprob& logprob : prompt_logprobs) {
    *chunk_.add_prompt_logprobs() = ToProto(logprob);
  }
  waiting_ += ids.size() + prompt_logprobs.size();
}

void TokenStream::Complete(const GenerateComplete& complete) { complete_ = ToProto(complete); }

TokenStream::Next TokenStream::Take(v1::GenerateResponse& message) {
  if (started_) {
    *message.mutable_started() = *std::exchange(started_, std::nullopt);
    return Next::kMessage;
  }
  if (waiting_ > 0) {
    message.mutable_chunk()->Swap(&chunk_);
    chunk_.Clear();
    waiting_ = 0;
    return Next::kMessage;
  }
  if (ended_) return Next::kNothing;
  if (complete_) {
    *message.mutable_complete() = *complete_;
    ended_ = true;
    return Next::kLastMessage;
  }
  if (!error_.ok()) {
    ended_ = true;
    return Next::kError;
  }
  return Next::kNothing;
}

}  // namespace kvasir

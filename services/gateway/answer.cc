#include "services/gateway/answer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/cli/random_id.h"
#include "services/gateway/error_answer.h"

namespace kvasir::gateway {
namespace {

AnswerWriter::Head HeadOf(const Answer::Options& options, const KvasirServices::Facts& facts) {
  return {.id = absl::StrCat(options.chat ? "chatcmpl-" : "cmpl-", cli::RandomId()),
          .created = absl::ToUnixSeconds(absl::Now()),
          .model = facts.model_name,
          .fingerprint = facts.fingerprint,
          .session_id = options.asked.session_id,
          .chat = options.chat,
          .scores = options.asked.top_logprobs.has_value(),
          .include_usage = options.asked.include_usage};
}

std::vector<TokenScore> ScoresOf(const v1::TokenChunk& chunk) {
  std::vector<TokenScore> scores;
  for (const v1::TokenLogprob& logprob : chunk.logprobs()) {
    TokenScore& score = scores.emplace_back(TokenScore{logprob.id(), logprob.logprob(), {}});
    for (const v1::Alternative& alternative : logprob.alternatives()) {
      score.alternatives.emplace_back(alternative.id(), alternative.logprob());
    }
  }
  return scores;
}

void AddEvent(const std::string& json, std::string& piece) {
  absl::StrAppend(&piece, "data: ", json, "\n\n");
}

}  // namespace

Answer::Answer(KvasirServices& services, SessionKeeper& keeper, const Caller& caller,
               std::shared_ptr<const KvasirServices::Facts> facts, Options options,
               std::function<bool()> gone)
    : facts_(facts),
      options_(std::move(options)),
      writer_(facts_->tokens, HeadOf(options_, *facts_)),
      turn_(services, keeper, caller, std::move(facts), std::move(gone)) {}

absl::Status Answer::Start(const std::vector<Prompt>& prompts) {
  for (const Prompt& prompt : prompts) {
    absl::Status status = turn_.Start(options_.asked, prompt.ids, /*keeps=*/options_.chat);
    if (!status.ok()) return status;
    prompt_tokens_ += prompt.ids.size();
    for (uint32_t i = 0; i < options_.asked.n; ++i) {
      readers_.push_back(std::make_unique<AnswerReader>(
          facts_->tokens, AnswerReader::Options{.stop = options_.asked.stop,
                                                .plain = !options_.chat,
                                                .begins_thinking = prompt.begins_thinking,
                                                .parses_tool_calls = options_.parses_tool_calls}));
    }
  }
  begun_.resize(readers_.size());
  return absl::OkStatus();
}

absl::StatusOr<bool> Answer::Next(Delta& delta) {
  Turn::Event event;
  while (turn_.Next(event)) {
    AnswerReader& reader = *readers_[event.choice];
    if (reader.stopped()) continue;  // what came before it stopped, or its end
    delta.index = static_cast<uint32_t>(event.choice);
    if (event.chunk != nullptr) {
      const auto& ids = event.chunk->ids();
      delta.delta =
          reader.Push({ids.data(), static_cast<size_t>(ids.size())}, ScoresOf(*event.chunk));
      if (reader.stopped()) turn_.Stop(event.choice);
      return true;
    }
    if (!event.status.ok()) return event.status;
    delta.delta = reader.Finish(event.by_length);
    return true;
  }
  return false;
}

absl::StatusOr<std::string> Answer::Whole() {
  std::vector<AnswerDelta> choices(readers_.size());
  Delta delta;
  while (true) {
    const absl::StatusOr<bool> more = Next(delta);
    if (!more.ok()) return more.status();
    if (!*more) return writer_.Whole(choices, Usage());
    Append(std::move(delta.delta), choices[delta.index]);
  }
}

bool Answer::NextEvents(std::string& piece) {
  if (ended_) return false;
  Delta delta;
  const absl::StatusOr<bool> more = Next(delta);
  if (!more.ok()) {  // the HTTP status has been told; clients know this event for an error
    ended_ = true;
    AddEvent(DescribeError(more.status(), "").json, piece);
    return true;
  }
  if (!*more) {
    ended_ = true;
    if (options_.asked.include_usage) AddEvent(writer_.UsageChunk(Usage()), piece);
    AddEvent("[DONE]", piece);
    return true;
  }
  const bool first = !begun_[delta.index];
  if (!first && delta.delta.empty()) return true;
  begun_[delta.index] = true;
  // What ends a choice comes in a chunk without text.
  const std::optional<FinishedBy> finished = std::exchange(delta.delta.finished, std::nullopt);
  if (first || !delta.delta.empty()) {
    AddEvent(writer_.Chunk(delta.index, delta.delta, first), piece);
  }
  if (finished.has_value()) {
    AnswerDelta end;
    end.finished = finished;
    AddEvent(writer_.Chunk(delta.index, end, /*first=*/false), piece);
  }
  return true;
}

AnswerUsage Answer::Usage() const {
  AnswerUsage usage = {.prompt_tokens = prompt_tokens_, .cached_tokens = turn_.cached_tokens()};
  for (const auto& reader : readers_) {
    usage.completion_tokens += reader->tokens();
    usage.thought_tokens += reader->thought_tokens();
  }
  return usage;
}

}  // namespace kvasir::gateway

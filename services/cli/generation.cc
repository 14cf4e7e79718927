#include "services/cli/generation.h"

#include <chrono>
#include <cstdio>

#include "services/cli/resumable_turn.h"
#include "services/cli/text_stream.h"

namespace kvasir::cli {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::string_view Why(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP_TOKEN:
      return "stop token";
    case v1::FINISH_REASON_MAX_NEW_TOKENS:
      return "all that were asked for";
    case v1::FINISH_REASON_MAX_CONTEXT:
      return "the context is full";
    default:
      return "interrupted";
  }
}

}  // namespace

Generation RunGenerate(Connection& connection, const v1::GenerateRequest& request,
                       const std::function<void(const v1::TokenChunk& chunk)>& on_chunk) {
  const Clock::time_point start = Clock::now();
  Clock::time_point first = start;
  bool any = false;
  ResumableTurn turn(connection.model(), request, connection.retries(),
                     [](const std::string& line) { Tell("warning: " + line); });
  Generation generation;
  generation.status = turn.Run([&](const v1::TokenChunk& chunk) {
    if (!any) first = Clock::now();
    any = true;
    on_chunk(chunk);
  });
  generation.started = turn.started();
  generation.ids = turn.ids();
  generation.complete = turn.complete();
  generation.first_token_seconds = SecondsBetween(start, first);
  generation.seconds = SecondsBetween(start, Clock::now());
  return generation;
}

Generation StreamTextOf(Connection& connection, const v1::GenerateRequest& request) {
  TextStream text(connection.tokenizer(), [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  });
  Generation generation = RunGenerate(
      connection, request, [&](const v1::TokenChunk& chunk) { text.Write(chunk.ids()); });
  const grpc::Status text_status = text.Finish();
  if (generation.status.ok()) generation.status = text_status;
  return generation;
}

std::string Statistics(const Generation& generation) {
  char buffer[256];
  const size_t tokens = generation.ids.size();
  std::snprintf(buffer, sizeof(buffer), "%zu tokens in %.2f s", tokens, generation.seconds);
  std::string text = buffer;
  if (tokens > 1 && generation.complete.has_value() && generation.complete->has_timing()) {
    // The service's own clock: several tokens may come in one message.
    const google::protobuf::Duration& decode = generation.complete->timing().decode();
    const double decode_seconds = static_cast<double>(decode.seconds()) + decode.nanos() * 1e-9;
    std::snprintf(buffer, sizeof(buffer), " (%.1f/s after the first)",
                  static_cast<double>(tokens - 1) / decode_seconds);
    text += buffer;
  }
  if (tokens > 0) {
    std::snprintf(buffer, sizeof(buffer), ", the first after %.0f ms",
                  generation.first_token_seconds * 1e3);
    text += buffer;
  }
  text += "; cached_tokens " + std::to_string(generation.started.cached_tokens());
  if (generation.complete.has_value()) {
    text += "; sent " + std::to_string(generation.complete->usage().input_tokens());
    text += "; session length " + std::to_string(generation.complete->session_length());
    text += "; ended by: " + std::string(Why(generation.complete->finish_reason()));
  }
  return text;
}

}  // namespace kvasir::cli

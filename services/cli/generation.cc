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

std::string Formatted(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

// By the service's own clock, after the first: several tokens may come in one message.
std::optional<double> TokensPerSecond(const Generation& generation) {
  const size_t tokens = generation.ids.size();
  if (tokens < 2 || !generation.complete.has_value() || !generation.complete->has_timing()) {
    return std::nullopt;
  }
  const google::protobuf::Duration& decode = generation.complete->timing().decode();
  return static_cast<double>(tokens - 1) /
         (static_cast<double>(decode.seconds()) + decode.nanos() * 1e-9);
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
  generation.context = request.expected_length() + request.input_ids_size();
  return generation;
}

void PrintText(std::string_view piece) {
  std::fwrite(piece.data(), 1, piece.size(), stdout);
  std::fflush(stdout);
}

Generation StreamTextOf(Connection& connection, const v1::GenerateRequest& request,
                        const ShowText& show) {
  TextStream text(connection.tokenizer(), show);
  Generation generation = RunGenerate(
      connection, request, [&](const v1::TokenChunk& chunk) { text.Write(chunk.ids()); });
  const grpc::Status text_status = text.Finish();
  if (generation.status.ok()) generation.status = text_status;
  return generation;
}

std::string Statistics(const Generation& generation) {
  std::string text = std::to_string(generation.ids.size()) + " tokens in " +
                     Formatted("%.2f s", generation.seconds);
  if (const std::optional<double> rate = TokensPerSecond(generation)) {
    text += Formatted(" (%.1f/s after the first)", *rate);
  }
  if (!generation.ids.empty()) {
    text += Formatted(", the first after %.0f ms", generation.first_token_seconds * 1e3);
  }
  text += "; cached_tokens " + std::to_string(generation.started.cached_tokens());
  if (generation.context > 0) text += " of " + std::to_string(generation.context);
  if (generation.complete.has_value()) {
    text += "; sent " + std::to_string(generation.complete->usage().input_tokens());
    text += "; session length " + std::to_string(generation.complete->session_length());
    text += "; ended by: " + std::string(Why(generation.complete->finish_reason()));
  }
  return text;
}

std::string ShortStatistics(const Generation& generation) {
  std::string text = std::to_string(generation.ids.size()) + " tokens";
  if (const std::optional<double> rate = TokensPerSecond(generation)) {
    text += Formatted(", %.1f/s", *rate);
  }
  return text + "; " + std::to_string(generation.started.cached_tokens()) + " of " +
         std::to_string(generation.context) + " reused";
}

}  // namespace kvasir::cli

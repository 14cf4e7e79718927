#ifndef KVASIR_SERVICES_CLI_GENERATION_H_
#define KVASIR_SERVICES_CLI_GENERATION_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "services/cli/connection.h"

namespace kvasir::cli {

// What a turn gave, as far as it came.
struct Generation {
  grpc::Status status;
  v1::GenerateStarted started;
  TokenIds ids;
  std::optional<v1::GenerateComplete> complete;
  double first_token_seconds = 0;  // From the call to its first token.
  double seconds = 0;              // Of the whole call.
  uint64_t context = 0;            // Tokens before the first new one, where it is known.
};

// What becomes of a text as it comes.
using ShowText = std::function<void(std::string_view piece)>;
// Puts it on stdout.
void PrintText(std::string_view piece);

// Calls `on_chunk` for each chunk as it comes. See ResumableTurn: the turn is carried over servers
// that fail.
Generation RunGenerate(Connection& connection, const v1::GenerateRequest& request,
                       const std::function<void(const v1::TokenChunk& chunk)>& on_chunk);

// The same, its text shown as it comes, by a thread of the call's own. Where the text could not be
// had, `status` says so.
Generation StreamTextOf(Connection& connection, const v1::GenerateRequest& request,
                        const ShowText& show = PrintText);

// "31 tokens in 0.42 s (74.1/s after the first), the first after 35 ms; cached_tokens 480; ...".
std::string Statistics(const Generation& generation);
// The same in short: "31 tokens, 74.1/s; 480 of 523 reused".
std::string ShortStatistics(const Generation& generation);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_GENERATION_H_

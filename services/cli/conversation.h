#ifndef KVASIR_SERVICES_CLI_CONVERSATION_H_
#define KVASIR_SERVICES_CLI_CONVERSATION_H_

#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvasir/v1/tokenizer.pb.h"

namespace kvasir::cli {

// A chat in a session, as token ids: finds the few that the session lacks for the model to answer
// the next message, and remembers where each turn began.
//
// What the model generated is never rendered or tokenised again: the session holds the ids. The
// chat template is asked twice about a conversation that ends [answer, next message], each time
// with another stand-in for the answer; the ids that both renderings end with are what the
// template puts after any answer: its closing (such as <|im_end|> and a newline), the message, and
// the invitation to answer. Of the closing, the session may hold a part already (the stop token),
// which is left out. So it does not matter what a template makes of older answers (some cut the
// thinking out of them), nor whether an answer was cut short.
class Conversation {
 public:
  using TokenIds = std::vector<uint32_t>;
  // The template's ids for `messages` and the invitation to answer.
  using Render =
      std::function<grpc::Status(const std::vector<v1::ChatMessage>& messages, TokenIds& ids)>;

  // `system`: may be empty.
  Conversation(Render render, std::string system)
      : render_(std::move(render)), system_(std::move(system)) {}

  // The session holds `length` tokens, of which these are the last. Its turns are unknown.
  void Resume(uint64_t length, TokenIds last_ids);

  // The ids to send, with `text` as the user's next message.
  grpc::Status NextTurn(std::string_view text, TokenIds& ids) const;

  // A turn took place: the session now ends with these.
  void AddTurn(const TokenIds& sent, const TokenIds& generated);
  // The session's length before its last turn; nothing where that is unknown.
  std::optional<uint64_t> BeforeLastTurn() const;
  // The session was cut back to before its last turn. REQUIRES: BeforeLastTurn().
  void RemoveLastTurn();
  // The session was cut back to nothing.
  void Clear();

  uint64_t length() const { return unknown_ + ids_.size(); }

 private:
  // The ids of a conversation that goes on after an answer, whatever that was.
  grpc::Status AfterAnswer(const v1::ChatMessage& next, TokenIds& ids) const;

  Render render_;
  std::string system_;
  uint64_t unknown_ = 0;  // Tokens of the session before ids_.
  TokenIds ids_;
  std::vector<uint64_t> turn_starts_;  // Lengths of the session.
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CONVERSATION_H_

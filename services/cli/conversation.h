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

// A chat in a session: what was said, the ids that the session holds of it, and the few that it
// lacks for the model to answer the next message.
//
// The session is kept equal to the chat template's rendering. While that only grows, what the model
// generated stays as it is, never tokenised again: the rest of an answer's closing (such as
// <|im_end|> and a newline, of which the session may hold a part) and what follows is sent. Where
// the template says older messages in another way (Qwen3's drops the thinking of older answers),
// the session is cut back to where the two begin to differ.
class Conversation {
 public:
  using TokenIds = std::vector<uint32_t>;

  // The tokenizer service.
  struct Tokenizer {
    std::function<grpc::Status(const v1::ApplyChatTemplateRequest&, v1::ApplyChatTemplateResponse&)>
        apply;
    std::function<grpc::Status(const v1::DecodeRequest&, std::string& text)> decode;
  };

  struct Message {
    v1::ChatMessage said;
    // The session's length after it, as far as that is known: after a question, of all but the
    // invitation to answer; after an answer, when it ended.
    std::optional<uint64_t> end;
  };

  // What is to be done for the next answer.
  struct Turn {
    v1::ChatMessage question;
    uint64_t keep = 0;  // The session is cut to this length;
    TokenIds ids;       // then these are sent. Never empty.
    // The session's length after the question, where it is known.
    std::optional<uint64_t> question_end;
  };

  // `system`, `template_arguments` (see ApplyChatTemplateRequest): may be empty.
  Conversation(Tokenizer tokenizer, const std::string& system, std::string template_arguments = "");

  // The session holds `length` tokens, of which these are the last. What was said is unknown.
  void Resume(uint64_t length, TokenIds last_ids);
  // The session holds these, and this was said. REQUIRES: the ends ascend, none past the ids.
  void Restore(std::vector<Message> messages, TokenIds ids);

  // The turn in which `text` is the user's next message.
  grpc::Status NextTurn(std::string_view text, Turn& turn);
  // The session was cut to `length`. REQUIRES: length <= length().
  void CutTo(uint64_t length);
  // The turn took place: the session, of turn.keep tokens, got its ids and then these.
  void AddTurn(const Turn& turn, const TokenIds& generated);

  // Forgets all messages from this one on. Returns what the session is to be cut to, which CutTo
  // is to be told. REQUIRES: first_known() <= index <= messages().size().
  uint64_t ForgetFrom(size_t index);
  // Changes what the model is told first; empty: nothing. FAILED_PRECONDITION where the session's
  // beginning is unknown.
  grpc::Status SetSystem(const std::string& system);

  // Completes the messages: the last answer's text is decoded only when it is asked for.
  grpc::Status Complete();
  // The system message, if there is one, and what followed. REQUIRES: Complete() was OK since the
  // last AddTurn, or of the last answer only the place counts.
  const std::vector<Message>& messages() const { return messages_; }
  // The messages before this one only stand for a beginning that is not known.
  size_t first_known() const { return first_known_; }
  std::string system() const;

  // Tokens of the session.
  uint64_t length() const { return unknown_ + ids_.size(); }
  // The last of them, all where the beginning is known.
  const TokenIds& ids() const { return ids_; }
  // Whether the model's answers begin inside a <think> that the template has opened. Known after
  // the first NextTurn.
  bool begins_thinking() const { return begins_thinking_; }

 private:
  v1::ApplyChatTemplateRequest Request(const v1::ChatMessage* question) const;
  // What the session holds in [begin, end).
  grpc::Status Decode(uint64_t begin, uint64_t end, bool skip_special, std::string& text) const;
  // Learns what invites an answer, and what closes it.
  grpc::Status LearnTemplate();
  // The ids to send where the rendering only grew; nothing where it did not.
  grpc::Status Append(const v1::ChatMessage& question, std::optional<TokenIds>& ids) const;
  // Of an answer that was given to an unknown conversation.
  grpc::Status AfterUnknown(const v1::ChatMessage& question, TokenIds& ids) const;
  // From where the session and the rendering begin to differ.
  grpc::Status Rewrite(const v1::ChatMessage& question, Turn& turn) const;
  // The most of the start of `ids` that the session ends with.
  size_t Held(const TokenIds& ids) const;

  Tokenizer tokenizer_;
  std::string template_arguments_;
  std::vector<Message> messages_;
  size_t first_known_ = 0;
  uint64_t unknown_ = 0;  // Tokens of the session before ids_.
  TokenIds ids_;
  std::optional<uint64_t> undecoded_;  // Where the last answer begins, until it is decoded.
  std::optional<TokenIds> invitation_;
  TokenIds closing_;
  bool begins_thinking_ = false;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CONVERSATION_H_

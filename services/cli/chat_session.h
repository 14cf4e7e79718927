#ifndef KVASIR_SERVICES_CLI_CHAT_SESSION_H_
#define KVASIR_SERVICES_CLI_CHAT_SESSION_H_

#include <optional>
#include <string>

#include "services/cli/connection.h"
#include "services/cli/conversation.h"
#include "services/cli/generation.h"
#include "services/cli/sampling_flags.h"

namespace kvasir::cli {

// A chat whose memory is a session of the model service: each turn sends only its own new tokens.
class ChatSession {
 public:
  // REQUIRES: `connection` outlives this.
  ChatSession(Connection& connection, SamplingFlags sampling, const std::string& system);
  ChatSession(const ChatSession&) = delete;
  ChatSession& operator=(const ChatSession&) = delete;

  // Takes up the session, or creates it where there is none. An empty id: the service chooses.
  grpc::Status Open(const std::string& session_id);

  // The answer to `text` on stdout as it comes. Where the turn was cut short, the session is left
  // with just what was shown, or, where nothing was, as it had been.
  Generation Say(const std::string& text);

  // Forgets the last turn. FAILED_PRECONDITION where there is none that this chat knows.
  grpc::Status Back();
  // Forgets everything.
  grpc::Status Reset();
  // Goes on in a copy (an empty id: the service chooses); the original stays as it is.
  grpc::Status Fork(const std::string& new_session_id);
  grpc::Status Describe(v1::Session& session);

  const std::string& id() const { return id_; }
  // Tokens.
  uint64_t length() const { return conversation_.length(); }

 private:
  grpc::Status Render(const std::vector<v1::ChatMessage>& messages, TokenIds& ids);
  // From `expected_length` where that is given.
  grpc::Status Truncate(uint64_t length, std::optional<uint64_t> expected_length = std::nullopt);
  // Waits until no call runs on the session.
  grpc::Status WaitUntilIdle(v1::Session& session);
  // After a turn, of that request_id, that did not end well.
  grpc::Status Settle(const std::string& request_id, const TokenIds& sent, const TokenIds& shown);
  grpc::Status ReadLastIds(uint64_t length, TokenIds& ids);

  Connection& connection_;
  SamplingFlags sampling_;
  std::string id_;
  Conversation conversation_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CHAT_SESSION_H_

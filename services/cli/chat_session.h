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
  // with just what was shown, or, where nothing was, as it had been; where the service could not be
  // reached for it, that is done before the next message, unsettled() until then.
  Generation Say(const std::string& text);

  // Forgets the last turn. FAILED_PRECONDITION where there is none that this chat knows.
  grpc::Status Back();
  // Forgets everything.
  grpc::Status Reset();
  // Goes on in a copy (an empty id: the service chooses); the original stays as it is.
  grpc::Status Fork(const std::string& new_session_id);
  grpc::Status Describe(v1::Session& session) { return Describe(id_, session); }

  const std::string& id() const { return id_; }
  // Tokens.
  uint64_t length() const { return conversation_.length(); }
  bool unsettled() const { return unsettled_.has_value(); }

 private:
  grpc::Status Render(const std::vector<v1::ChatMessage>& messages, TokenIds& ids);
  // The session that there is.
  grpc::Status TakeUp();
  grpc::Status Describe(const std::string& id, v1::Session& session);
  grpc::Status Truncate(uint64_t length, uint64_t expected_length);
  // Waits until no call runs on the session.
  grpc::Status WaitUntilIdle(v1::Session& session);
  // After a turn that did not end well, if there is one.
  grpc::Status Settle();
  grpc::Status ReadLastIds(uint64_t length, TokenIds& ids);

  // A turn of which the session may hold more than was shown.
  struct Unsettled {
    std::string request_id;
    TokenIds sent, shown;
  };

  Connection& connection_;
  SamplingFlags sampling_;
  std::string id_;
  Conversation conversation_;
  std::optional<Unsettled> unsettled_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CHAT_SESSION_H_

#ifndef KVASIR_SERVICES_CLI_CHAT_SESSION_H_
#define KVASIR_SERVICES_CLI_CHAT_SESSION_H_

#include <optional>
#include <string>
#include <vector>

#include "services/cli/connection.h"
#include "services/cli/conversation.h"
#include "services/cli/generation.h"
#include "services/cli/sampling_flags.h"

namespace kvasir::cli {

// A chat whose memory is a session of the model service: each turn sends only its own new tokens.
class ChatSession {
 public:
  // `system`, `template_arguments`: see Conversation. REQUIRES: `connection` outlives this.
  ChatSession(Connection& connection, SamplingFlags sampling, const std::string& system,
              const std::string& template_arguments = "");
  ChatSession(const ChatSession&) = delete;
  ChatSession& operator=(const ChatSession&) = delete;

  // Takes up the session, or creates it where there is none. An empty id: the service chooses.
  grpc::Status Open(const std::string& session_id);

  // Shows the answer to `text` as it comes. Where the turn was cut short, the session is left with
  // just what was shown, or, where nothing was, as it had been; where the service could not be
  // reached for it, that is done before the next message, unsettled() until then.
  Generation Say(const std::string& text, const ShowText& show = PrintText);
  // Another answer to the last question.
  Generation Retry(const ShowText& show = PrintText);
  // Puts `text` in place of question `number` (from 1, see questions()), and forgets what followed.
  Generation Edit(size_t number, const std::string& text, const ShowText& show = PrintText);

  // What was asked, as far as this chat knows.
  std::vector<std::string> questions() const;
  // Forgets the last turn. FAILED_PRECONDITION where there is none that this chat knows.
  grpc::Status Back();
  // Forgets everything but the system message.
  grpc::Status Reset();
  // What the model is told first, from the next message on.
  grpc::Status SetSystem(const std::string& system) { return conversation_.SetSystem(system); }
  std::string system() const { return conversation_.system(); }
  // Goes on in a copy (an empty id: the service chooses); the original stays as it is.
  grpc::Status Fork(const std::string& new_session_id);
  // Writes the chat to a file, from which Load takes it up: in its session, or, where that is not
  // there or has gone on, in a new one that holds the same.
  grpc::Status Save(const std::string& path);
  grpc::Status Load(const std::string& path);
  grpc::Status Describe(v1::Session& session) { return Describe(id_, session); }

  const std::string& id() const { return id_; }
  // Tokens.
  uint64_t length() const { return conversation_.length(); }
  bool unsettled() const { return unsettled_.has_value(); }
  // Whether the next answer begins inside a <think> that the template has opened.
  bool begins_thinking() const { return conversation_.begins_thinking(); }

 private:
  Conversation::Tokenizer Tokenizer();
  grpc::Status TokenizerFingerprint(std::string& fingerprint);
  Generation Say(const std::string& text, std::optional<uint64_t> seed, const ShowText& show);
  // The messages' indices of questions().
  std::vector<size_t> QuestionIndices() const;
  // Forgets this message and what followed.
  grpc::Status ForgetFrom(size_t index);
  // Cuts the session.
  grpc::Status CutTo(uint64_t length);
  // A session of this id that holds `ids`; an empty id: a new one.
  grpc::Status Create(const std::string& id, const TokenIds& ids);
  // The session that there is.
  grpc::Status TakeUp();
  grpc::Status Describe(const std::string& id, v1::Session& session);
  grpc::Status Truncate(uint64_t length, uint64_t expected_length);
  // Waits until no call runs on the session.
  grpc::Status WaitUntilIdle(v1::Session& session);
  // After a turn that did not end well, if there is one.
  grpc::Status Settle();
  grpc::Status ReadIds(uint64_t offset, TokenIds& ids);

  // A turn of which the session may hold more than was shown.
  struct Unsettled {
    std::string request_id;
    Conversation::Turn turn;
    TokenIds shown;
  };

  Connection& connection_;
  SamplingFlags sampling_;
  std::string id_;
  Conversation conversation_;
  std::optional<Unsettled> unsettled_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_CHAT_SESSION_H_

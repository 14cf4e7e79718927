#ifndef KVASIR_SERVICES_CLI_SAVED_CHAT_H_
#define KVASIR_SERVICES_CLI_SAVED_CHAT_H_

#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "services/cli/conversation.h"

namespace kvasir::cli {

// A chat in a file: JSON, with what was said in plain text, and the session's ids.
struct SavedChat {
  std::string session_id;
  std::string tokenizer;  // Its fingerprint.
  std::vector<Conversation::Message> messages;
  Conversation::TokenIds ids;
};

grpc::Status WriteSavedChat(const SavedChat& chat, const std::string& path);
// INVALID_ARGUMENT for what is no such file, naming the field.
grpc::Status ReadSavedChat(const std::string& path, SavedChat& chat);

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_SAVED_CHAT_H_

// Two turns of a chat in a session that the server keeps: each call sends only what is new.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"
#include "kvasir/v1/tokenizer.grpc.pb.h"

namespace v1 = kvasir::v1;

std::shared_ptr<grpc::Channel> Connect(const char* variable, const char* otherwise) {
  const char* address = std::getenv(variable);
  return grpc::CreateChannel(address != nullptr ? address : otherwise,
                             grpc::InsecureChannelCredentials());
}

void Check(const grpc::Status& status) {
  if (status.ok()) return;
  std::cerr << status.error_message() << "\n";
  std::exit(1);
}

class Chat {
 public:
  void Say(const std::string& question) {
    v1::ApplyChatTemplateRequest conversation = messages_;
    conversation.set_from_message(messages_.messages_size());
    Add(conversation, "user", question);
    Add(messages_, "user", question);
    v1::ApplyChatTemplateResponse rendered;
    grpc::ClientContext rendering;
    Check(tokenizer_->ApplyChatTemplate(&rendering, conversation, &rendered));
    if (rendered.first_changed_message() != conversation.from_message()) {
      std::cerr << "this template rewrites history: TruncateSession to that message first\n";
      std::exit(1);
    }
    std::vector<uint32_t> input(rendered.closing_ids().begin() + Held(rendered.closing_ids()),
                                rendered.closing_ids().end());
    input.insert(input.end(), rendered.ids().begin(), rendered.ids().end());

    v1::GenerateRequest request;
    request.set_session_id(session_);
    request.set_create_if_missing(true);
    request.set_expected_length(length_);
    request.mutable_input_ids()->Add(input.begin(), input.end());
    request.mutable_sampling()->set_temperature(0);
    grpc::ClientContext generating;
    const auto events = model_->Generate(&generating, request);
    answered_.clear();
    for (v1::GenerateResponse event; events->Read(&event);) {
      const auto& ids = event.chunk().ids();
      answered_.insert(answered_.end(), ids.begin(), ids.end());
      if (event.has_complete()) length_ = event.complete().session_length();
    }
    Check(events->Finish());

    v1::DecodeRequest decode;
    decode.mutable_ids()->Add(answered_.begin(), answered_.end());
    decode.set_skip_special_tokens(true);
    v1::DecodeResponse decoded;
    grpc::ClientContext decoding;
    Check(tokenizer_->Decode(&decoding, decode, &decoded));
    Add(messages_, "assistant", decoded.text());
    std::cout << decoded.text() << " (" << input.size() << " tokens sent)\n";
  }

  void Delete() {
    v1::DeleteSessionRequest request;
    request.set_session_id(session_);
    v1::DeleteSessionResponse response;
    grpc::ClientContext context;
    Check(model_->DeleteSession(&context, request, &response));
  }

 private:
  static void Add(v1::ApplyChatTemplateRequest& messages, const char* role,
                  const std::string& content) {
    v1::ChatMessage& message = *messages.add_messages();
    message.set_role(role);
    message.set_content(content);
  }

  // How much of `closing` the session has: an answer may end with its beginning.
  template <typename Ids>
  int Held(const Ids& closing) const {
    int held = std::min<int>(closing.size(), static_cast<int>(answered_.size()));
    while (!std::equal(answered_.end() - held, answered_.end(), closing.begin())) --held;
    return held;
  }

  std::unique_ptr<v1::TokenizerService::Stub> tokenizer_ =
      v1::TokenizerService::NewStub(Connect("KVASIR_TOKENIZER_ADDRESS", "127.0.0.1:50051"));
  std::unique_ptr<v1::ModelService::Stub> model_ =
      v1::ModelService::NewStub(Connect("KVASIR_MODEL_ADDRESS", "127.0.0.1:50052"));
  const std::string session_ = "cpp-example-" + std::to_string(getpid());
  v1::ApplyChatTemplateRequest messages_;
  uint64_t length_ = 0;             // of the session
  std::vector<uint32_t> answered_;  // the ids of the last answer
};

int main() {
  Chat chat;
  chat.Say("My name is Mara.");
  chat.Say("What is my name?");
  chat.Delete();
}

#ifndef KVASIR_SERVICES_CLI_TEXT_STREAM_H_
#define KVASIR_SERVICES_CLI_TEXT_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "kvasir/v1/tokenizer.grpc.pb.h"
#include "services/cli/interrupts.h"

namespace kvasir::cli {

// One DecodeStream call: ids in, whole characters out as they come. Special tokens are skipped.
class TextStream {
 public:
  // Runs on a thread of the stream's own: the service answers when it has whole characters, not
  // once for each message.
  using Sink = std::function<void(std::string_view text)>;

  TextStream(v1::TokenizerService::Stub& stub, Sink sink);
  // REQUIRES: Finish() was called.
  ~TextStream() = default;
  TextStream(const TextStream&) = delete;
  TextStream& operator=(const TextStream&) = delete;

  // A stream that broke shows in Finish.
  void Write(const google::protobuf::RepeatedField<uint32_t>& ids);

  // Waits for the rest of the text.
  grpc::Status Finish();

 private:
  grpc::ClientContext context_;
  // After the Ctrl-C that ended the generation, the text of what came is still shown.
  Interrupts::Cancels cancels_{context_, /*presses=*/2};
  std::unique_ptr<grpc::ClientReaderWriter<v1::DecodeStreamRequest, v1::DecodeStreamResponse>>
      call_;
  Sink sink_;
  std::thread reader_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_TEXT_STREAM_H_

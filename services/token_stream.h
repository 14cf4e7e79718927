#ifndef KVASIR_SERVICES_TOKEN_STREAM_H_
#define KVASIR_SERVICES_TOKEN_STREAM_H_

#include <cstddef>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "engine/schedule/request.h"
#include "kvasir/v1/model.pb.h"

namespace kvasir {

// What one Generate call has brought forth and its client has not been sent yet. Whatever waits
// when the client is ready leaves as one message, so that a slow client costs fewer messages, not
// more memory. Not thread-safe.
class TokenStream {
 public:
  // Full at `capacity` tokens, counting input tokens with log-probabilities. What one step of the
  // engine adds may go beyond it.
  explicit TokenStream(size_t capacity) : capacity_(capacity) {}

  bool HasRoom() const { return waiting_ < capacity_; }

  void Start(const GenerateStarted& started);
  // As GenerateSink::OnTokens.
  void Append(std::span<const int> ids, std::span<const TokenLogprob> logprobs,
              std::span<const TokenLogprob> prompt_logprobs);
  void Complete(const GenerateComplete& complete);
  void Fail(const absl::Status& status) { error_ = status; }

  enum class Next {
    kNothing,      // as yet
    kMessage,      // to be sent
    kLastMessage,  // to be sent, and then the status OK
    kError,        // error() is to be sent
  };
  // Takes what comes next; a message goes to `message`. After a kLastMessage or kError: kNothing.
  Next Take(v1::GenerateResponse& message);
  const absl::Status& error() const { return error_; }

 private:
  const size_t capacity_;
  size_t waiting_ = 0;  // tokens in chunk_
  std::optional<v1::GenerateStarted> started_;
  v1::TokenChunk chunk_;
  std::optional<v1::GenerateComplete> complete_;
  absl::Status error_;
  bool ended_ = false;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TOKEN_STREAM_H_

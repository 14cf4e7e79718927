#ifndef KVASIR_SERVICES_CHAT_RENDERER_H_
#define KVASIR_SERVICES_CHAT_RENDERER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kvasir/v1/tokenizer.pb.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {

// By the names that templates know: bos_token, eos_token, pad_token.
std::map<std::string, std::string> NamedTokens(const SpecialTokens& tokens);

// A model's chat template together with its tokenizer: conversations to ids. Immutable.
class ChatRenderer {
 public:
  // A template that is missing or does not parse is told by Render: the rest of the service needs
  // none. REQUIRES: `tokenizer` outlives this.
  explicit ChatRenderer(const Tokenizer& tokenizer);

  // Why there is no usable template; OK where there is one.
  const absl::Status& status() const { return template_.status(); }

  // FAILED_PRECONDITION where there is no usable template; INVALID_ARGUMENT for what the template
  // refuses, and for a from_message past the end.
  absl::Status Render(const v1::ApplyChatTemplateRequest& request,
                      v1::ApplyChatTemplateResponse& response) const;

 private:
  const Tokenizer& tokenizer_;
  const absl::StatusOr<ChatTemplate> template_;
  std::vector<uint32_t> closing_ids_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_CHAT_RENDERER_H_

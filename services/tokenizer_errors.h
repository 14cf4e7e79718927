#ifndef KVASIR_SERVICES_TOKENIZER_ERRORS_H_
#define KVASIR_SERVICES_TOKENIZER_ERRORS_H_

#include <string_view>

#include "absl/status/status.h"
#include "engine/error.h"

namespace kvasir {

// The tokenizer's INVALID_ARGUMENT with the API's reason for it; any other status as it is.
inline absl::Status InvalidField(std::string_view field, const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  return MakeError(Reason::kInvalidField, {status.message().data(), status.message().size()},
                   {{"field", std::string(field)}});
}

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TOKENIZER_ERRORS_H_

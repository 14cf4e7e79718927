#include "tokenizer/jinja/error.h"

namespace kvasir::jinja {

std::string Concat(std::initializer_list<std::string_view> pieces) {
  std::string joined;
  for (std::string_view piece : pieces) joined += piece;
  return joined;
}

absl::Status Invalid(std::initializer_list<std::string_view> pieces) {
  return absl::InvalidArgumentError(Concat(pieces));
}

absl::Status Exhausted(std::initializer_list<std::string_view> pieces) {
  return absl::ResourceExhaustedError(Concat(pieces));
}

absl::Status At(Position position, const absl::Status& status) {
  return absl::Status(status.code(), Concat({"line ", std::to_string(position.line), ", column ",
                                             std::to_string(position.column), ": ",
                                             std::string(status.message())}));
}

}  // namespace kvasir::jinja

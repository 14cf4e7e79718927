#ifndef KVASIR_TOKENIZER_JINJA_PRINTING_H_
#define KVASIR_TOKENIZER_JINJA_PRINTING_H_

#include <string>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// As Python's repr(): shortest digits that give the same double back.
std::string FloatText(double value);

// As Python's str(): what {{ value }} prints. Undefined: nothing. RESOURCE_EXHAUSTED past
// kMaxTextBytes.
absl::StatusOr<Text> ToText(const Value& value);

// The arguments of Python's json.dumps.
struct JsonStyle {
  int indent = -1;  // Spaces a level; -1: all in one line.
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};

// As Python's json.dumps. INVALID_ARGUMENT for what JSON does not know (undefined, a function).
absl::StatusOr<Text> ToJson(const Value& value, const JsonStyle& style);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_PRINTING_H_

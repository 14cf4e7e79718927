#ifndef KVASIR_TOKENIZER_JINJA_PARSER_H_
#define KVASIR_TOKENIZER_JINJA_PARSER_H_

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/tree.h"

namespace kvasir::jinja {

struct ParsedTemplate {
  Body body;
  // Pairs (attribute, test) for every test of an attribute, such as `call.arguments is string`.
  std::set<std::pair<std::string, std::string>> tested_attributes;
};

// INVALID_ARGUMENT with line and column for what is broken, or not supported (by name);
// RESOURCE_EXHAUSTED for what nests too deeply.
absl::StatusOr<ParsedTemplate> ParseTemplate(std::string_view source);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_PARSER_H_

#ifndef KVASIR_TOKENIZER_JINJA_JSON_READER_H_
#define KVASIR_TOKENIZER_JINJA_JSON_READER_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// A JSON text as the value that Python's json.loads gives, all its strings the caller's
// (untrusted). INVALID_ARGUMENT where it is no JSON, or holds an integer beyond 64 bits;
// RESOURCE_EXHAUSTED where it nests deeper than kMaxDepth.
absl::StatusOr<Value> ReadJson(std::string_view json);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_JSON_READER_H_

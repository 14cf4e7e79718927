#ifndef KVASIR_TOKENIZER_JINJA_FILTERS_H_
#define KVASIR_TOKENIZER_JINJA_FILTERS_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// Jinja's filters, `tojson` as transformers defines it (json.dumps without ASCII escapes).
bool IsFilter(std::string_view name);

// REQUIRES: IsFilter(name). Errors carry no position.
absl::StatusOr<Value> ApplyFilter(std::string_view name, const Value& value,
                                  const ArgumentValues& arguments);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_FILTERS_H_

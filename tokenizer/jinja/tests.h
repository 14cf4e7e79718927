#ifndef KVASIR_TOKENIZER_JINJA_TESTS_H_
#define KVASIR_TOKENIZER_JINJA_TESTS_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// Jinja's tests: what may follow `is`.
bool IsTest(std::string_view name);

// REQUIRES: IsTest(name). Errors carry no position.
absl::StatusOr<bool> RunTest(std::string_view name, const Value& value,
                             const ArgumentValues& arguments);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_TESTS_H_

#ifndef KVASIR_TOKENIZER_JINJA_ARGUMENTS_H_
#define KVASIR_TOKENIZER_JINJA_ARGUMENTS_H_

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// The evaluated arguments of a call, filter or test.
struct ArgumentValues {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// One value for each of `parameters`, undefined where none was given. INVALID_ARGUMENT where one is
// given twice, is unknown, or is missing among the first `required`; `callee` is for the message.
absl::StatusOr<std::vector<Value>> Bind(std::string_view callee, const ArgumentValues& arguments,
                                        std::initializer_list<std::string_view> parameters,
                                        size_t required = 0);

// What a built-in's argument must be. INVALID_ARGUMENT names callee and parameter.
absl::StatusOr<const Text*> TextArgument(std::string_view callee, std::string_view parameter,
                                         const Value& value);
absl::StatusOr<int64_t> IntegerArgument(std::string_view callee, std::string_view parameter,
                                        const Value& value);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_ARGUMENTS_H_

#include "tokenizer/jinja/arguments.h"

#include <algorithm>

#include "tokenizer/jinja/error.h"

namespace kvasir::jinja {

absl::StatusOr<std::vector<Value>> Bind(std::string_view callee, const ArgumentValues& arguments,
                                        std::initializer_list<std::string_view> parameters,
                                        size_t required) {
  if (arguments.positional.size() > parameters.size()) {
    return Invalid({"'", callee, "' takes at most ", std::to_string(parameters.size()),
                    " arguments, not ", std::to_string(arguments.positional.size())});
  }
  std::vector<Value> values = arguments.positional;
  std::vector<bool> given(values.size(), true);
  values.resize(parameters.size());
  given.resize(parameters.size());
  for (const auto& [name, value] : arguments.named) {
    const size_t index = std::find(parameters.begin(), parameters.end(), name) - parameters.begin();
    if (index == parameters.size()) {
      return Invalid({"'", callee, "' has no argument '", name, "'"});
    }
    if (given[index]) return Invalid({"'", callee, "' got the argument '", name, "' twice"});
    values[index] = value;
    given[index] = true;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!given[i]) {
      return Invalid({"'", callee, "' needs the argument '", parameters.begin()[i], "'"});
    }
  }
  return values;
}

absl::StatusOr<const Text*> TextArgument(std::string_view callee, std::string_view parameter,
                                         const Value& value) {
  if (value.text() != nullptr) return value.text();
  return Invalid({"'", callee, "': ", parameter, " must be a str, not a ", value.type_name()});
}

absl::StatusOr<int64_t> IntegerArgument(std::string_view callee, std::string_view parameter,
                                        const Value& value) {
  if (value.is_int() || value.is_bool()) return value.integer();
  return Invalid({"'", callee, "': ", parameter, " must be an int, not a ", value.type_name()});
}

}  // namespace kvasir::jinja

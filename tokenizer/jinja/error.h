#ifndef KVASIR_TOKENIZER_JINJA_ERROR_H_
#define KVASIR_TOKENIZER_JINJA_ERROR_H_

#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir::jinja {

// Where a token starts in the template; both count from 1, columns in bytes.
struct Position {
  int line = 1;
  int column = 1;
};

std::string Concat(std::initializer_list<std::string_view> pieces);

// The template, or what it was given, is wrong.
absl::Status Invalid(std::initializer_list<std::string_view> pieces);
// A limit of limits.h is reached.
absl::Status Exhausted(std::initializer_list<std::string_view> pieces);
// The same status, its message starting with "line L, column C: ".
absl::Status At(Position position, const absl::Status& status);

}  // namespace kvasir::jinja

#define KVASIR_JINJA_CONCAT_INNER(a, b) a##b
#define KVASIR_JINJA_CONCAT(a, b) KVASIR_JINJA_CONCAT_INNER(a, b)

#define KVASIR_JINJA_RETURN_IF_ERROR(expression)              \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

#define KVASIR_JINJA_ASSIGN_OR_RETURN_INNER(temporary, variable, expression) \
  auto temporary = (expression);                                             \
  if (!temporary.ok()) return temporary.status();                            \
  variable = *std::move(temporary)

// KVASIR_JINJA_ASSIGN_OR_RETURN(Value value, Evaluate(...));
#define KVASIR_JINJA_ASSIGN_OR_RETURN(variable, expression) \
  KVASIR_JINJA_ASSIGN_OR_RETURN_INNER(KVASIR_JINJA_CONCAT(result_, __LINE__), variable, expression)

#endif  // KVASIR_TOKENIZER_JINJA_ERROR_H_

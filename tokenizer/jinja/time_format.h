#ifndef KVASIR_TOKENIZER_JINJA_TIME_FORMAT_H_
#define KVASIR_TOKENIZER_JINJA_TIME_FORMAT_H_

#include <ctime>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// As Python's datetime.strftime of `time` in local time, in the C locale. INVALID_ARGUMENT for a
// format that asks for too much.
absl::StatusOr<Value> FormatTime(const Text& format, std::time_t time);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_TIME_FORMAT_H_

#ifndef KVASIR_TOKENIZER_JINJA_SPLITTING_H_
#define KVASIR_TOKENIZER_JINJA_SPLITTING_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// A method of str: its receiver, its name for messages, its arguments.
using TextMethod = absl::StatusOr<Value> (*)(const Text& self, std::string_view name,
                                             const ArgumentValues& arguments);

// Python's methods of str that cut it into pieces: split, rsplit, splitlines, partition,
// rpartition.
absl::StatusOr<Value> Split(const Text& self, std::string_view name,
                            const ArgumentValues& arguments);
absl::StatusOr<Value> RightSplit(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments);
absl::StatusOr<Value> SplitLines(const Text& self, std::string_view name,
                                 const ArgumentValues& arguments);
absl::StatusOr<Value> Partition(const Text& self, std::string_view name,
                                const ArgumentValues& arguments);
absl::StatusOr<Value> RightPartition(const Text& self, std::string_view name,
                                     const ArgumentValues& arguments);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_SPLITTING_H_

#ifndef KVASIR_TOKENIZER_JINJA_SEQUENCE_FILTERS_H_
#define KVASIR_TOKENIZER_JINJA_SEQUENCE_FILTERS_H_

#include <map>
#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

using Filter = absl::StatusOr<Value> (*)(std::string_view name, const Value& value,
                                         const ArgumentValues& arguments);

// The filters that go through the items of their operand, by name.
const std::map<std::string_view, Filter>& SequenceFilters();

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_SEQUENCE_FILTERS_H_

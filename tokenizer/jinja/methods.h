#ifndef KVASIR_TOKENIZER_JINJA_METHODS_H_
#define KVASIR_TOKENIZER_JINJA_METHODS_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// Python's methods of str, list and dict, and loop.cycle. Those that change a list or dict do not
// exist, as in transformers' immutable sandbox. Cases are those of the 26 letters.
bool IsMethod(const Value& receiver, std::string_view name);

// REQUIRES: IsMethod(receiver, name). Errors carry no position.
absl::StatusOr<Value> CallMethod(const Value& receiver, std::string_view name,
                                 const ArgumentValues& arguments);

// The building blocks that filters share.

enum class Side { kBoth, kLeft, kRight };
// As str.strip, lstrip, rstrip; without `characters`: white space.
Text Strip(const Text& text, Side side, const Text* characters);
// As str.replace; a negative count: all.
absl::StatusOr<Value> Replace(const Text& text, const Text& from, const Text& to, int64_t count);
// As str.join, of what ToText makes of each item.
absl::StatusOr<Value> Join(const Text& separator, const std::vector<Value>& items);
// As str.title and str.capitalize.
Text Title(const Text& text);
Text Capitalize(const Text& text);
// Of &, <, >, and both quotes.
Text EscapeHtml(const Text& text);
// As dict.items.
Value Items(const Dict& dict);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_METHODS_H_

#ifndef KVASIR_TOKENIZER_JINJA_TEMPLATE_H_
#define KVASIR_TOKENIZER_JINJA_TEMPLATE_H_

#include <ctime>
#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// A Jinja template in the setting in which Hugging Face transformers renders chat templates:
// trim_blocks and lstrip_blocks on, an immutable sandbox, tojson without ASCII escapes,
// raise_exception, strftime_now, break and continue. Immutable: any number of threads may render at
// once.
class Template {
 public:
  // INVALID_ARGUMENT, with line and column, for what is broken or not supported (named);
  // RESOURCE_EXHAUSTED for what nests too deeply.
  static absl::StatusOr<Template> Parse(std::string_view source);

  // INVALID_ARGUMENT, with line and column, for what Jinja raises, raise_exception among it;
  // RESOURCE_EXHAUSTED past a limit of limits.h. `now`: what strftime_now tells, in local time.
  absl::StatusOr<Text> Render(const Dict& variables, std::time_t now = std::time(nullptr)) const;

  // Whether `x.attribute is test` stands anywhere in the template: what it expects of its data.
  bool TestsAttribute(std::string_view attribute, std::string_view test) const;

 private:
  explicit Template(ParsedTemplate parsed) : parsed_(std::move(parsed)) {}

  ParsedTemplate parsed_;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_TEMPLATE_H_

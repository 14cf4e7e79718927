#include "tokenizer/jinja/template.h"

#include <string>

#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/interpreter.h"

namespace kvasir::jinja {

absl::StatusOr<Template> Template::Parse(std::string_view source) {
  KVASIR_JINJA_ASSIGN_OR_RETURN(ParsedTemplate parsed, ParseTemplate(source));
  return Template(std::move(parsed));
}

absl::StatusOr<Text> Template::Render(const Dict& variables, std::time_t now) const {
  return Interpreter(variables, now).Run(parsed_.body);
}

bool Template::TestsAttribute(std::string_view attribute, std::string_view test) const {
  return parsed_.tested_attributes.contains({std::string(attribute), std::string(test)});
}

}  // namespace kvasir::jinja

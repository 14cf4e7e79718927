// Any template over a few variables: it renders or is refused, within the limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tokenizer/jinja/json_reader.h"
#include "tokenizer/jinja/template.h"

using kvasir::jinja::ReadJson;
using kvasir::jinja::Template;
using kvasir::jinja::Text;
using kvasir::jinja::Value;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Value& variables = *new Value(*ReadJson(
      R"({"messages": [{"role": "user", "content": "Hi <x>"}, {"role": "tool", "content": ""}],
          "tools": [{"name": "f", "n": [1, 2.5, null, true]}], "s": " a,b\n\u00e9 ", "n": 3})"));
  const absl::StatusOr<Template> parsed =
      Template::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  const absl::StatusOr<Text> text = parsed->Render(*variables.dict());
  if (!text.ok()) return 0;
  // The runs cover the text, in order, each unlike the one before.
  size_t end = 0;
  bool first = true;
  bool trusted = false;
  for (const Text::Run& run : text->runs()) {
    if (run.end <= end || (!first && run.trusted == trusted)) std::abort();
    end = run.end;
    trusted = run.trusted;
    first = false;
  }
  if (end != text->size()) std::abort();
  return 0;
}

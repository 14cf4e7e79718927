// Renders templates for the differential tests. Standard input: lines of JSON, {"template": ...,
// "variables": {...}}; standard output: for each a line, {"rendered": ...} or {"error": ...,
// "code":
// ...}. The argument: the time that strftime_now tells, in seconds.
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <map>
#include <string>
#include <string_view>

#include "tokenizer/jinja/json_reader.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/template.h"

namespace kvasir::jinja {
namespace {

absl::StatusOr<Text> Render(const Dict& request, std::time_t now,
                            std::map<std::string, Template>& parsed) {
  const std::string& source = request.Find("template")->text()->bytes();
  if (!parsed.contains(source)) {
    absl::StatusOr<Template> result = Template::Parse(source);
    if (!result.ok()) return result.status();
    parsed.emplace(source, *std::move(result));
  }
  return parsed.at(source).Render(*request.Find("variables")->dict(), now);
}

Dict Answer(absl::StatusOr<Text> text) {
  Dict answer;
  if (text.ok()) {
    answer.Set("rendered", Value(*std::move(text)));
  } else {
    answer.Set("error", Value::Trusted(std::string(text.status().message())));
    answer.Set("code", Value::Trusted(absl::StatusCodeToString(text.status().code())));
  }
  return answer;
}

int Main(std::time_t now) {
  std::map<std::string, Template> parsed;
  std::string line;
  while (std::getline(std::cin, line)) {
    const absl::StatusOr<Value> request = ReadJson(line);
    if (!request.ok()) {
      std::cerr << request.status() << "\n";
      return 1;
    }
    const Value answer(Answer(Render(*request->dict(), now, parsed)));
    std::cout << ToJson(answer, {.ensure_ascii = true})->bytes() << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace kvasir::jinja

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: render_stream SECONDS\n";
    return 1;
  }
  return kvasir::jinja::Main(std::strtoll(argv[1], nullptr, 10));
}

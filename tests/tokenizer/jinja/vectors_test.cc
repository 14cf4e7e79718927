// What jinja2 makes of small templates, line by line of data/jinja.jsonl (see make_vectors.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tokenizer/jinja/json_reader.h"
#include "tokenizer/jinja/template.h"

namespace kvasir::jinja {
namespace {

TEST(JinjaVectors, RenderAsJinja2Does) {
  std::ifstream file(KVASIR_SOURCE_DIR "/tests/tokenizer/data/jinja.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const Value header = *ReadJson(line);
  const Dict& variables = *header.dict()->Find("variables")->dict();
  const std::time_t now = header.dict()->Find("now")->integer();
  int rendered = 0;
  int refused = 0;
  while (std::getline(file, line)) {
    const Value row = *ReadJson(line);
    const std::string& source = row.dict()->Find("template")->text()->bytes();
    SCOPED_TRACE(source);
    const absl::StatusOr<Template> parsed = Template::Parse(source);
    const absl::StatusOr<Text> text =
        parsed.ok() ? parsed->Render(variables, now) : absl::StatusOr<Text>(parsed.status());
    if (const Value* expected = row.dict()->Find("rendered")) {
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(text->bytes(), expected->text()->bytes());
      ++rendered;
    } else {
      EXPECT_FALSE(text.ok()) << text->bytes() << " in place of "
                              << row.dict()->Find("error")->text()->bytes();
      if (!text.ok()) {
        EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
        EXPECT_THAT(std::string(text.status().message()), testing::StartsWith("line 1, column "));
      }
      ++refused;
    }
  }
  EXPECT_GE(rendered, 330);
  EXPECT_GE(refused, 60);
}

}  // namespace
}  // namespace kvasir::jinja

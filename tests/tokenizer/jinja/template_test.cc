#include "tokenizer/jinja/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tokenizer/jinja/json_reader.h"

namespace kvasir::jinja {
namespace {

using ::testing::HasSubstr;

// The rendering with what came from the caller's data in angle brackets.
std::string Marked(std::string_view source, std::string_view variables_json) {
  const absl::StatusOr<Template> parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status().ToString();
  const Value variables = *ReadJson(variables_json);
  const absl::StatusOr<Text> text = parsed->Render(*variables.dict());
  if (!text.ok()) return text.status().ToString();
  std::string marked;
  size_t begin = 0;
  for (const Text::Run& run : text->runs()) {
    const std::string piece = text->bytes().substr(begin, run.end - begin);
    marked += run.trusted ? piece : "<" + piece + ">";
    begin = run.end;
  }
  return marked;
}

absl::Status Failure(std::string_view source, std::string_view variables_json = "{}") {
  const absl::StatusOr<Template> parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  const Value variables = *ReadJson(variables_json);
  return parsed->Render(*variables.dict()).status();
}

TEST(Provenance, TheTemplatesOwnTextIsTrusted) {
  EXPECT_EQ(Marked("a{{ 'b' }}{{ 1 + 2 }}{{ none }}", "{}"), "ab3None");
}

TEST(Provenance, TheCallersStringsAreNot) {
  EXPECT_EQ(Marked("a{{ x }}b{{ y.z[0] }}", R"({"x": "1", "y": {"z": ["2"]}})"), "a<1>b<2>");
}

TEST(Provenance, SurvivesWhatIsDoneToText) {
  constexpr std::string_view kVariables = R"({"x": " ab|cd ", "k": {"in": "out"}})";
  const std::pair<std::string_view, std::string_view> kCases[] = {
      {"'[' + x + ']'", "[< ab|cd >]"},
      {"'[' ~ x ~ 1 ~ ']'", "[< ab|cd >1]"},
      {"x | trim", "<ab|cd>"},
      {"('[' + x + ']')[0:3]", "[< a>"},
      {"('[' + x.strip() + ']')[::-1]", "]<dc|ba>["},
      {"('<' ~ x ~ '>').split('|')[1]", "<cd >>"},
      {"x.split('|') | join('/')", "< ab>/<cd >"},
      {"x.replace('|', '-')", "< ab>-<cd >"},
      {"'a-b'.replace('-', x)", "a< ab|cd >b"},
      {"('q' ~ x.strip()) | upper", "Q<AB|CD>"},
      {"('q' ~ x.strip()).title()", "Q<ab|Cd>"},
      {"x * 2", "< ab|cd  ab|cd >"},
      {"('-' ~ x) | tojson", "\"-< ab|cd >\""},
      {"k | tojson", "{\"<in>\": \"<out>\"}"},
      {"k", "{'<in>': '<out>'}"},
      {"[x.strip()]", "['<ab|cd>']"},
      {"k.items() | map('join', '=') | join", "<in>=<out>"},
      {"missing | default(x)", "< ab|cd >"},
      {"x if x else 'none'", "< ab|cd >"},
      {"('a\\n' ~ x.strip()) | indent(2)", "a\n  <ab|cd>"},
      {"x | string | safe | first", "< >"},
      {"x.partition('|')[2]", "<cd >"},
      {"x.rsplit('|', 1)[0]", "< ab>"},
      {"[x] | map('trim') | first", "<ab|cd>"},
      {"([x] * 2) | last", "< ab|cd >"},
      {"('a' | safe) + x", "a< ab|cd >"},
      {"strftime_now('-')", "-"},
      {"strftime_now(x.strip())", "<ab|cd>"},
  };
  for (const auto& [expression, expected] : kCases) {
    EXPECT_EQ(Marked("{{ " + std::string(expression) + " }}", kVariables), expected) << expression;
  }
}

TEST(Provenance, SurvivesStatements) {
  EXPECT_EQ(Marked("{% set y %}a{{ x }}b{% endset %}{{ y }}", R"({"x": "1"})"), "a<1>b");
  EXPECT_EQ(Marked("{% macro m(p) %}({{ p }}){% endmacro %}{{ m(x) ~ m('t') }}", R"({"x": "1"})"),
            "(<1>)(t)");
  EXPECT_EQ(Marked("{% set n = namespace(v='') %}{% for i in x %}{% set n.v = n.v ~ i ~ '.' %}"
                   "{% endfor %}{{ n.v }}",
                   R"({"x": ["1", "2"]})"),
            "<1>.<2>.");
}

TEST(Errors, NameLineAndColumn) {
  const absl::Status load = Failure("a\n  {{ 1 | shout }}");
  EXPECT_EQ(load.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load.message(), "line 2, column 10: the filter 'shout' is not supported");
  const absl::Status render = Failure("{% if true %}\n{{ x.y }}{% endif %}");
  EXPECT_EQ(render.message(), "line 2, column 5: 'x' is undefined");
  EXPECT_EQ(Failure("{{ raise_exception('no ' ~ 1) }}").message(), "line 1, column 19: no 1");
}

TEST(Errors, WhatIsNotSupportedIsRefusedByName) {
  const std::pair<std::string_view, std::string_view> kCases[] = {
      {"{% include 'x' %}", "the statement 'include' is not supported"},
      {"{% call f() %}{% endcall %}", "the statement 'call' is not supported"},
      {"{{ 1 | batch(2) }}", "the filter 'batch' is not supported"},
      {"{{ 1 is escaped }}", "the test 'escaped' is not supported"},
      {"{% for a in b recursive %}{% endfor %}", "'recursive' is not supported"},
      {"{{ f(*a) }}", "unpacking arguments with '*' is not supported"},
      {"{% for a in b %}{% macro m() %}{% endmacro %}{% endfor %}",
       "'macro' inside a loop or another macro is not supported"},
  };
  for (const auto& [source, message] : kCases) {
    const absl::Status status = Template::Parse(source).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << source;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(message)));
  }
}

std::string Repeat(std::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

TEST(Limits, NestingAtLoad) {
  const std::string kCases[] = {
      "{{ " + Repeat("(", 100'000) + "1" + Repeat(")", 100'000) + " }}",
      "{{ " + Repeat("[", 100'000) + Repeat("]", 100'000) + " }}",
      "{{ 1" + Repeat(" + 1", 100'000) + " }}",
      "{{ " + Repeat("not ", 100'000) + "1 }}",
      "{{ " + Repeat("-", 100'000) + "1 }}",
      "{{ x" + Repeat(".y", 100'000) + " }}",
      "{{ x" + Repeat("|trim", 100'000) + " }}",
      Repeat("{% if true %}", 100'000) + Repeat("{% endif %}", 100'000),
  };
  for (const std::string& source : kCases) {
    EXPECT_EQ(Template::Parse(source).status().code(), absl::StatusCode::kResourceExhausted)
        << source.substr(0, 20);
  }
}

TEST(Limits, WhileRendering) {
  const std::string_view kCases[] = {
      // Steps.
      "{% for a in range(99) %}{% for b in range(999999) %}{% break %}{% endfor %}{% endfor %}",
      "{% set x = 'x' * 9999999 %}{% for a in range(999) %}{% if 'y' in x %}{% endif %}{% endfor "
      "%}",
      // Length of a text.
      "{{ 'x' * 999999999 }}",
      "{{ ('x' * 9999).replace('x', 'y' * 9999) }}",
      "{{ ('x' * 9999).replace('', 'y' * 9999) }}",
      "{% set x = 'x' * 9999999 %}{{ [x, x, x] | join }}",
      "{% set x = 'x' * 9999999 %}{{ x }}{{ x }}",
      "{{ range(1000000) | list | tojson(indent=64) }}",
      "{% set n = namespace(l=[]) %}{% for a in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}"
      "{{ n.l | tojson }}",
      // Length of a list.
      "{{ range(9999999) }}",
      "{{ (' ' * 9999999).split(' ') }}",
      // Depth.
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set n = namespace(l=[]) %}{% for a in range(99999) %}{% set n.l = [n.l] %}{% endfor %}",
      "{% set n = namespace(l=[]) %}{% for a in range(99999) %}{% for b in [n.l] %}"
      "{% set n.l = [loop] %}{% endfor %}{% endfor %}",
      "{% set n = namespace(l=[]) %}{% for a in range(99999) %}{% set n.l = [n.l].count %}"
      "{% endfor %}",
  };
  for (std::string_view source : kCases) {
    const absl::Status status = Failure(source);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << source << "\n" << status;
  }
}

TEST(Limits, ANamespaceThatHoldsItselfIsHarmless) {
  EXPECT_EQ(Marked("{% set n = namespace() %}{% set n.n = [n] %}{{ n.n[0].n[0] == n }}", "{}"),
            "True");
  EXPECT_EQ(Failure("{% set n = namespace() %}{% set n.n = n %}{{ n }}").message(),
            "line 1, column 46: a namespace has no text");
}

TEST(ReadJson, RefusesWhatItCannotKeep) {
  EXPECT_EQ(ReadJson("[1").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadJson("1 2").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadJson("\"\xff\"").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ReadJson("18446744073709551615").status().message()),
              HasSubstr("18446744073709551615"));
  EXPECT_EQ(ReadJson(Repeat("[", 1'000'000)).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Template, KnowsWhichAttributesItTests) {
  const Template parsed = *Template::Parse("{% if x.arguments is string %}{% endif %}");
  EXPECT_TRUE(parsed.TestsAttribute("arguments", "string"));
  EXPECT_FALSE(parsed.TestsAttribute("arguments", "mapping"));
  EXPECT_TRUE(
      Template::Parse("{{ x['arguments'] is not string }}")->TestsAttribute("arguments", "string"));
}

}  // namespace
}  // namespace kvasir::jinja

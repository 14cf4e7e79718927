// Spans in OTLP's JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Ids are
// hexadecimal, 64-bit numbers are strings, enumerations are numbers.
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "absl/strings/str_cat.h"
#include "services/log.h"
#include "services/span.h"

namespace kvasir {
namespace {

using Json = rapidjson::Writer<rapidjson::StringBuffer>;

constexpr int kStatusError = 2;  // STATUS_CODE_ERROR

void Add(Json& json, std::string_view text) {
  const std::string utf8 = AsUtf8(text);
  json.String(utf8.data(), static_cast<rapidjson::SizeType>(utf8.size()));
}

void Add(Json& json, const char* key, std::string_view text) {
  json.Key(key);
  Add(json, text);
}

void AddText(Json& json, std::string_view text) {
  json.StartObject();
  Add(json, "stringValue", text);
  json.EndObject();
}

void AddValue(Json& json, const Span::Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    AddText(json, *text);
    return;
  }
  json.StartObject();
  if (const auto* number = std::get_if<int64_t>(&value)) {
    Add(json, "intValue", absl::StrCat(*number));
  } else {
    json.Key("arrayValue");
    json.StartObject();
    json.Key("values");
    json.StartArray();
    for (const std::string& text : std::get<std::vector<std::string>>(value)) AddText(json, text);
    json.EndArray();
    json.EndObject();
  }
  json.EndObject();
}

void AddAttribute(Json& json, std::string_view key, const Span::Value& value) {
  json.StartObject();
  Add(json, "key", key);
  json.Key("value");
  AddValue(json, value);
  json.EndObject();
}

void AddSpan(Json& json, const Span& span) {
  json.StartObject();
  Add(json, "traceId", span.context.trace_id());
  Add(json, "spanId", span.context.span_id());
  if (span.context.parent != 0) {
    Add(json, "parentSpanId", TraceContext::IdOf(span.context.parent));
  }
  Add(json, "name", span.name);
  json.Key("kind");
  json.Int(static_cast<int>(span.kind));
  Add(json, "startTimeUnixNano", absl::StrCat(absl::ToUnixNanos(span.start)));
  Add(json, "endTimeUnixNano", absl::StrCat(absl::ToUnixNanos(span.end)));
  json.Key("attributes");
  json.StartArray();
  for (const auto& [key, value] : span.attributes) AddAttribute(json, key, value);
  json.EndArray();
  if (span.failed) {
    json.Key("status");
    json.StartObject();
    json.Key("code");
    json.Int(kStatusError);
    json.EndObject();
  }
  json.EndObject();
}

}  // namespace

std::string EncodeOtlp(const std::vector<Span>& spans,
                       const std::vector<std::pair<std::string_view, std::string>>& resource) {
  rapidjson::StringBuffer buffer;
  Json json(buffer);
  const auto open = [&](const char* key) {
    json.Key(key);
    json.StartArray();
    json.StartObject();
  };
  const auto close = [&] {
    json.EndObject();
    json.EndArray();
  };
  json.StartObject();
  open("resourceSpans");
  json.Key("resource");
  json.StartObject();
  json.Key("attributes");
  json.StartArray();
  for (const auto& [key, value] : resource) AddAttribute(json, key, value);
  json.EndArray();
  json.EndObject();
  open("scopeSpans");
  json.Key("scope");
  json.StartObject();
  Add(json, "name", "kvasir");
  Add(json, "version", KVASIR_VERSION);
  json.EndObject();
  json.Key("spans");
  json.StartArray();
  for (const Span& span : spans) AddSpan(json, span);
  json.EndArray();
  close();
  close();
  json.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace kvasir

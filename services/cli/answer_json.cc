#include "services/cli/answer_json.h"

#include <google/protobuf/util/json_util.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

namespace kvasir::cli {
namespace {

// The fields of an object, to stand beside others: ",..."; nothing where it has none.
std::string FieldsOf(const google::protobuf::Message& message) {
  const std::string json = Json(message);
  return json == "{}" ? "" : "," + json.substr(1, json.size() - 2);
}

}  // namespace

std::string Json(const google::protobuf::Message& message, bool multi_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  options.add_whitespace = multi_line;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}";
  while (!json.empty() && json.back() == '\n') json.pop_back();
  return json;
}

std::string AnswerJson(const Generation& generation, const std::string& text,
                       const v1::TokenChunk& chunk) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  const std::string& session = generation.started.session_id();
  writer.StartObject();
  writer.Key("session_id");
  writer.String(session.data(), static_cast<rapidjson::SizeType>(session.size()));
  writer.Key("text");
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  writer.EndObject();
  std::string json(buffer.GetString(), buffer.GetSize() - 1);
  json += FieldsOf(chunk);
  if (generation.complete.has_value()) json += FieldsOf(*generation.complete);
  return json + "}";
}

}  // namespace kvasir::cli

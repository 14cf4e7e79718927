#include "services/gateway/openai_messages.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/gateway/json_fields.h"

namespace kvasir::gateway {
namespace {

// A string, or an array of parts that are text.
void ReadContent(JsonFields& message, ChatMessage& read) {
  const rapidjson::Value* content = message.Find("content");
  if (content == nullptr) return;
  if (content->IsString()) {
    read.content = std::string(content->GetString(), content->GetStringLength());
    return;
  }
  if (!content->IsArray()) return message.Fail("content", "is neither a string nor an array");
  std::string text;
  for (rapidjson::SizeType i = 0; i < content->Size(); ++i) {
    const std::string path = absl::StrCat(message.PathOf("content"), "[", i, "]");
    if (!(*content)[i].IsObject()) return message.Fail(FieldError(path, "is no object"));
    JsonFields part((*content)[i], path);
    if (part.String("type").value_or("") != "text") {
      part.Fail("type", "is not supported, except as \"text\"");
    }
    text += part.String("text").value_or("");
    message.Fail(part.Finish());
  }
  read.content = std::move(text);
}

void ReadToolCalls(JsonFields& message, ChatMessage& read) {
  const rapidjson::Value* calls = message.Array("tool_calls");
  if (calls == nullptr) return;
  for (rapidjson::SizeType i = 0; i < calls->Size(); ++i) {
    const std::string path = absl::StrCat(message.PathOf("tool_calls"), "[", i, "]");
    if (!(*calls)[i].IsObject()) return message.Fail(FieldError(path, "is no object"));
    JsonFields call((*calls)[i], path);
    call.Ignore({"index"});
    ToolCall& made = read.tool_calls.emplace_back();
    made.id = call.String("id").value_or("");
    if (call.String("type").value_or("function") != "function") {
      call.Fail("type", "is not \"function\"");
    }
    if (const rapidjson::Value* given = call.Object("function")) {
      JsonFields function(*given, absl::StrCat(path, ".function"));
      made.name = function.String("name").value_or("");
      made.arguments = function.String("arguments").value_or("{}");
      call.Fail(function.Finish());
    } else {
      call.Fail("function", "is missing");
    }
    message.Fail(call.Finish());
  }
}

absl::Status ReadMessage(const rapidjson::Value& value, const std::string& path,
                         ChatMessage& read) {
  if (!value.IsObject()) return FieldError(path, "is no object");
  JsonFields message(value, path);
  read.role = message.String("role").value_or("");
  if (read.role == "developer") read.role = "system";
  const bool assistant = read.role == "assistant", tool = read.role == "tool";
  if (!assistant && !tool && read.role != "system" && read.role != "user") {
    message.Fail("role", "is none of system, developer, user, assistant, tool");
  }
  ReadContent(message, read);
  read.name = message.String("name").value_or("");
  if (assistant) {
    read.reasoning_content = message.String("reasoning_content");
    ReadToolCalls(message, read);
  }
  if (tool) read.tool_call_id = message.String("tool_call_id").value_or("");
  if (!read.content.has_value() && read.tool_calls.empty()) {
    if (!assistant) message.Fail("content", "is missing");
    read.content = "";
  }
  return message.Finish();
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const rapidjson::Value& array) {
  std::vector<ChatMessage> messages(array.Size());
  for (rapidjson::SizeType i = 0; i < array.Size(); ++i) {
    const absl::Status status =
        ReadMessage(array[i], absl::StrCat("messages[", i, "]"), messages[i]);
    if (!status.ok()) return status;
  }
  return messages;
}

}  // namespace kvasir::gateway

#include "services/cli/saved_chat.h"

#include <rapidjson/document.h>
#include <rapidjson/istreamwrapper.h>
#include <rapidjson/ostreamwrapper.h>
#include <rapidjson/prettywriter.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace kvasir::cli {
namespace {

constexpr char kFormat[] = "kvasir-chat-1";

grpc::Status FileError(const std::string& path, const std::string& what) {
  return {grpc::StatusCode::INVALID_ARGUMENT, path + ": " + what};
}

const rapidjson::Value* Find(const rapidjson::Value& object, const char* name) {
  if (!object.IsObject()) return nullptr;
  const auto member = object.FindMember(name);
  return member == object.MemberEnd() ? nullptr : &member->value;
}

bool ReadString(const rapidjson::Value& object, const char* name, std::string& text) {
  const rapidjson::Value* value = Find(object, name);
  if (value == nullptr || !value->IsString()) return false;
  text.assign(value->GetString(), value->GetStringLength());
  return true;
}

bool ReadMessage(const rapidjson::Value& value, uint64_t least_end, uint64_t most_end,
                 Conversation::Message& message) {
  std::string role, content;
  if (!ReadString(value, "role", role) || !ReadString(value, "content", content)) return false;
  message.said.set_role(role);
  message.said.set_content(content);
  const rapidjson::Value* end = Find(value, "end");
  if (end == nullptr) return true;
  if (!end->IsUint64() || end->GetUint64() < least_end || end->GetUint64() > most_end) return false;
  message.end = end->GetUint64();
  return true;
}

}  // namespace

grpc::Status WriteSavedChat(const SavedChat& chat, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  rapidjson::OStreamWrapper stream(file);
  rapidjson::PrettyWriter<rapidjson::OStreamWrapper> writer(stream);
  writer.SetFormatOptions(rapidjson::kFormatSingleLineArray);
  writer.SetIndent(' ', 1);
  const auto field = [&](const char* name, const std::string& text) {
    writer.Key(name);
    writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  };
  writer.StartObject();
  field("format", kFormat);
  field("session_id", chat.session_id);
  field("tokenizer", chat.tokenizer);
  writer.Key("messages");
  writer.StartArray();
  for (const Conversation::Message& message : chat.messages) {
    writer.StartObject();
    field("role", message.said.role());
    field("content", message.said.content());
    if (message.end.has_value()) {
      writer.Key("end");
      writer.Uint64(*message.end);
    }
    writer.EndObject();
  }
  writer.EndArray();
  writer.Key("ids");
  writer.StartArray();
  for (const uint32_t id : chat.ids) writer.Uint(id);
  writer.EndArray();
  writer.EndObject();
  file << "\n";
  file.close();
  return file.good() ? grpc::Status::OK : FileError(path, std::strerror(errno));
}

grpc::Status ReadSavedChat(const std::string& path, SavedChat& chat) {
  std::ifstream file(path, std::ios::binary);
  if (!file.good()) return {grpc::StatusCode::NOT_FOUND, path + ": " + std::strerror(errno)};
  rapidjson::IStreamWrapper stream(file);
  rapidjson::Document json;
  json.ParseStream<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(stream);
  std::string format;
  if (json.HasParseError() || !ReadString(json, "format", format) || format != kFormat) {
    return FileError(path, "is no chat that /save wrote");
  }
  if (!ReadString(json, "session_id", chat.session_id))
    return FileError(path, "session_id: a string");
  if (!ReadString(json, "tokenizer", chat.tokenizer)) return FileError(path, "tokenizer: a string");
  const rapidjson::Value* ids = Find(json, "ids");
  if (ids == nullptr || !ids->IsArray()) return FileError(path, "ids: a list");
  for (const rapidjson::Value& id : ids->GetArray()) {
    if (!id.IsUint()) return FileError(path, "ids: numbers of 32 bits");
    chat.ids.push_back(id.GetUint());
  }
  const rapidjson::Value* messages = Find(json, "messages");
  if (messages == nullptr || !messages->IsArray()) return FileError(path, "messages: a list");
  uint64_t end = 0;
  for (const rapidjson::Value& value : messages->GetArray()) {
    Conversation::Message& message = chat.messages.emplace_back();
    if (!ReadMessage(value, end, chat.ids.size(), message)) {
      return FileError(path, "messages[" + std::to_string(chat.messages.size() - 1) +
                                 "]: a role, a content, an end after the one before");
    }
    end = message.end.value_or(end);
  }
  return grpc::Status::OK;
}

}  // namespace kvasir::cli

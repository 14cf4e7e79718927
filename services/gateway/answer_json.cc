#include "services/gateway/answer_json.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <map>
#include <random>

#include "absl/strings/str_format.h"
#include "tokenizer/utf8.h"

namespace kvasir::gateway {
namespace {

using Json = rapidjson::Writer<rapidjson::StringBuffer>;

void String(Json& json, std::string_view text) {
  json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

void Member(Json& json, const char* name, std::string_view text) {
  json.Key(name);
  String(json, text);
}

std::string Written(const rapidjson::StringBuffer& buffer) {
  return {buffer.GetString(), buffer.GetSize()};
}

std::string Text(std::string_view bytes) {
  std::string text;
  AppendRepaired(bytes, text, nullptr);
  return text;
}

std::string CallId() {
  thread_local std::mt19937_64 random{std::random_device()()};
  return absl::StrFormat("call_%016x", random());
}

std::string_view NameOf(FinishedBy finished) {
  switch (finished) {
    case FinishedBy::kStop:
      return "stop";
    case FinishedBy::kLength:
      return "length";
    case FinishedBy::kToolCalls:
      return "tool_calls";
  }
  return "stop";
}

void WriteUsage(Json& json, const AnswerUsage& usage) {
  json.Key("usage");
  json.StartObject();
  json.Key("prompt_tokens");
  json.Uint64(usage.prompt_tokens);
  json.Key("completion_tokens");
  json.Uint64(usage.completion_tokens);
  json.Key("total_tokens");
  json.Uint64(usage.prompt_tokens + usage.completion_tokens);
  json.Key("prompt_tokens_details");
  json.StartObject();
  json.Key("cached_tokens");
  json.Uint64(usage.cached_tokens);
  json.EndObject();
  json.Key("completion_tokens_details");
  json.StartObject();
  json.Key("reasoning_tokens");
  json.Uint64(usage.thought_tokens);
  json.EndObject();
  json.EndObject();
}

// A token as messages have it: what it spells, and its bytes.
void WriteToken(Json& json, std::string_view bytes, float logprob) {
  Member(json, "token", Text(bytes));
  json.Key("logprob");
  json.Double(logprob);
  json.Key("bytes");
  json.StartArray();
  for (const char byte : bytes) json.Uint(static_cast<unsigned char>(byte));
  json.EndArray();
}

void WriteScores(Json& json, const TokenTable& table, const std::vector<ShownScore>& scores) {
  json.StartObject();
  json.Key("content");
  json.StartArray();
  for (const ShownScore& shown : scores) {
    json.StartObject();
    WriteToken(json, table.bytes(shown.score.id), shown.score.logprob);
    json.Key("top_logprobs");
    json.StartArray();
    for (const auto& [id, logprob] : shown.score.alternatives) {
      json.StartObject();
      WriteToken(json, table.bytes(id), logprob);
      json.EndObject();
    }
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.Key("refusal");
  json.Null();
  json.EndObject();
}

// A token's alternatives as completions have them. Of those that spell the same, the most probable.
void WriteAlternatives(Json& json, const TokenTable& table, const TokenScore& score) {
  std::map<std::string, float> by_text;
  for (const auto& [id, logprob] : score.alternatives) {
    by_text.emplace(Text(table.bytes(id)), logprob);
  }
  json.StartObject();
  for (const auto& [text, logprob] : by_text) {
    json.Key(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    json.Double(logprob);
  }
  json.EndObject();
}

void WriteListedScores(Json& json, const TokenTable& table, const std::vector<ShownScore>& scores) {
  const auto list = [&](const char* name, const auto& write) {
    json.Key(name);
    json.StartArray();
    for (const ShownScore& shown : scores) write(shown);
    json.EndArray();
  };
  json.StartObject();
  list("tokens", [&](const ShownScore& s) { String(json, Text(table.bytes(s.score.id))); });
  list("token_logprobs", [&](const ShownScore& s) { json.Double(s.score.logprob); });
  list("top_logprobs", [&](const ShownScore& s) { WriteAlternatives(json, table, s.score); });
  list("text_offset", [&](const ShownScore& s) { json.Uint64(s.offset); });
  json.EndObject();
}

// `told`: calls of this choice that came before; nothing: it is whole.
void WriteCalls(Json& json, const std::vector<ToolCall>& calls, const int* told) {
  if (calls.empty()) return;
  json.Key("tool_calls");
  json.StartArray();
  for (size_t i = 0; i < calls.size(); ++i) {
    json.StartObject();
    if (told != nullptr) {
      json.Key("index");
      json.Int(*told + static_cast<int>(i));
    }
    Member(json, "id", CallId());
    Member(json, "type", "function");
    json.Key("function");
    json.StartObject();
    Member(json, "name", calls[i].name);
    Member(json, "arguments", calls[i].arguments);
    json.EndObject();
    json.EndObject();
  }
  json.EndArray();
}

void WriteMessage(Json& json, const AnswerPiece& piece) {
  json.Key("message");
  json.StartObject();
  Member(json, "role", "assistant");
  json.Key("content");
  if (piece.content.empty() && !piece.tool_calls.empty()) {
    json.Null();
  } else {
    String(json, piece.content);
  }
  if (!piece.reasoning.empty()) Member(json, "reasoning_content", piece.reasoning);
  json.Key("refusal");
  json.Null();
  WriteCalls(json, piece.tool_calls, nullptr);
  json.EndObject();
}

void WriteChange(Json& json, const AnswerPiece& piece, bool first, const int& told) {
  json.Key("delta");
  json.StartObject();
  if (first) Member(json, "role", "assistant");
  if (first || !piece.content.empty()) Member(json, "content", piece.content);
  if (!piece.reasoning.empty()) Member(json, "reasoning_content", piece.reasoning);
  WriteCalls(json, piece.tool_calls, &told);
  json.EndObject();
}

void WriteHead(Json& json, const AnswerWriter::Head& head, bool chunk) {
  const char* chat = chunk ? "chat.completion.chunk" : "chat.completion";
  Member(json, "id", head.id);
  Member(json, "object", head.chat ? chat : "text_completion");
  json.Key("created");
  json.Int64(head.created);
  Member(json, "model", head.model);
  Member(json, "system_fingerprint", head.fingerprint);
  if (!head.session_id.empty()) Member(json, "session_id", head.session_id);
}

// What follows the text of a choice.
void EndChoice(Json& json, const TokenTable& table, const AnswerWriter::Head& head,
               const AnswerDelta& delta) {
  json.Key("logprobs");
  if (!head.scores) {
    json.Null();
  } else if (head.chat) {
    WriteScores(json, table, delta.scores);
  } else {
    WriteListedScores(json, table, delta.scores);
  }
  json.Key("finish_reason");
  if (delta.finished.has_value()) {
    String(json, NameOf(*delta.finished));
  } else {
    json.Null();
  }
  json.EndObject();
}

}  // namespace

std::string AnswerWriter::Chunk(uint32_t index, const AnswerDelta& delta, bool first) {
  if (calls_.size() <= index) calls_.resize(index + 1);
  rapidjson::StringBuffer buffer;
  Json json(buffer);
  json.StartObject();
  WriteHead(json, head_, /*chunk=*/true);
  json.Key("choices");
  json.StartArray();
  json.StartObject();
  json.Key("index");
  json.Uint(index);
  if (head_.chat) {
    WriteChange(json, delta.piece, first, calls_[index]);
    calls_[index] += static_cast<int>(delta.piece.tool_calls.size());
  } else {
    Member(json, "text", delta.piece.content);
  }
  EndChoice(json, table_, head_, delta);
  json.EndArray();
  if (head_.include_usage) {
    json.Key("usage");
    json.Null();
  }
  json.EndObject();
  return Written(buffer);
}

std::string AnswerWriter::UsageChunk(const AnswerUsage& usage) const {
  rapidjson::StringBuffer buffer;
  Json json(buffer);
  json.StartObject();
  WriteHead(json, head_, /*chunk=*/true);
  json.Key("choices");
  json.StartArray();
  json.EndArray();
  WriteUsage(json, usage);
  json.EndObject();
  return Written(buffer);
}

std::string AnswerWriter::Whole(const std::vector<AnswerDelta>& choices,
                                const AnswerUsage& usage) const {
  rapidjson::StringBuffer buffer;
  Json json(buffer);
  json.StartObject();
  WriteHead(json, head_, /*chunk=*/false);
  json.Key("choices");
  json.StartArray();
  for (size_t i = 0; i < choices.size(); ++i) {
    json.StartObject();
    json.Key("index");
    json.Uint64(i);
    if (head_.chat) {
      WriteMessage(json, choices[i].piece);
    } else {
      Member(json, "text", choices[i].piece.content);
    }
    EndChoice(json, table_, head_, choices[i]);
  }
  json.EndArray();
  WriteUsage(json, usage);
  json.EndObject();
  return Written(buffer);
}

}  // namespace kvasir::gateway

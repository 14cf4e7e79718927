#include "services/gateway/openai_request.h"

#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/openai_messages.h"

namespace kvasir::gateway {
namespace {

constexpr int64_t kMostTokens = 1 << 30;
constexpr int64_t kMostChoices = 128;
constexpr int64_t kMostAlternatives = 20;
constexpr size_t kMostStops = 16;
constexpr size_t kLongestStop = 1024;
constexpr int kMaxDepth = 128;
constexpr uint32_t kMostIds = 1u << 31;

// RapidJSON's own reader recurses as deep as the text says.
bool IsTooDeep(std::string_view json) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

absl::Status ParseObject(std::string_view json, rapidjson::Document& document) {
  if (IsTooDeep(json)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the body is nested deeper than ", kMaxDepth, " levels"));
  }
  document.Parse<rapidjson::kParseValidateEncodingFlag>(json.data(), json.size());
  if (document.HasParseError()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the body is no JSON: at byte ", document.GetErrorOffset(), ": ",
                     rapidjson::GetParseError_En(document.GetParseError())));
  }
  if (!document.IsObject()) return absl::InvalidArgumentError("the body is no JSON object");
  return absl::OkStatus();
}

std::string Written(const rapidjson::Value& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

void ReadSampling(JsonFields& fields, SamplingOverrides& sampling) {
  const auto as_float = [](std::optional<double> number) {
    return number.has_value() ? std::optional(static_cast<float>(*number)) : std::nullopt;
  };
  sampling.temperature = as_float(fields.Number("temperature", 0, 2));
  sampling.top_p = as_float(fields.Number("top_p", 0, 1));
  if (sampling.top_p == 0.0f) fields.Fail("top_p", "0 leaves no token: it must be over 0");
  sampling.frequency_penalty = as_float(fields.Number("frequency_penalty", -2, 2));
  sampling.presence_penalty = as_float(fields.Number("presence_penalty", -2, 2));
  if (const auto seed = fields.Integer("seed")) sampling.seed = static_cast<uint64_t>(*seed);
  // Extensions, by the names that others have for them.
  if (const auto top_k = fields.Integer("top_k", -1, kMostTokens)) {
    sampling.top_k = static_cast<uint32_t>(std::max<int64_t>(*top_k, 0));
  }
  sampling.min_p = as_float(fields.Number("min_p", 0, 1));
  sampling.repetition_penalty = as_float(fields.Number("repetition_penalty", 0.01, 100));
  const rapidjson::Value* bias = fields.Object("logit_bias");
  if (bias == nullptr) return;
  JsonFields biases(*bias, "logit_bias");
  for (const auto& member : bias->GetObject()) {
    const char* name = member.name.GetString();
    uint32_t id = 0;
    // In one spelling, so that none is there twice.
    if (!absl::SimpleAtoi(name, &id) || id >= kMostIds || std::to_string(id) != name) {
      biases.Fail(name, "is no token id");
    }
    const std::optional<double> added = biases.Number(name, -100, 100);
    if (added.has_value()) {
      sampling.logit_bias.emplace_back(static_cast<int>(id), static_cast<float>(*added));
    }
  }
  fields.Fail(biases.Finish());
  std::sort(sampling.logit_bias.begin(), sampling.logit_bias.end());
}

void ReadStops(JsonFields& fields, std::vector<std::string>& stops) {
  const rapidjson::Value* value = fields.Find("stop");
  if (value == nullptr) return;
  if (value->IsString()) {
    stops.emplace_back(value->GetString(), value->GetStringLength());
  } else if (value->IsArray()) {
    for (const rapidjson::Value& stop : value->GetArray()) {
      if (!stop.IsString()) return fields.Fail("stop", "holds what is no string");
      stops.emplace_back(stop.GetString(), stop.GetStringLength());
    }
  } else {
    fields.Fail("stop", "is neither a string nor an array of strings");
  }
  if (stops.size() > kMostStops) {
    fields.Fail("stop", absl::StrCat(stops.size(), " are more than ", kMostStops));
  }
  for (const std::string& stop : stops) {
    if (stop.empty() || stop.size() > kLongestStop) {
      fields.Fail("stop", absl::StrCat("each must have 1 to ", kLongestStop, " bytes"));
    }
  }
}

// Fields whose only value that is supported is what they are without being given.
void RefuseAllBut(JsonFields& fields, const char* name, std::string_view value) {
  const rapidjson::Value* given = fields.Find(name);
  if (given == nullptr || Written(*given) == value) return;
  fields.Fail(name, absl::StrCat("is not supported, except as ", std::string(value)));
}

void ReadOptions(JsonFields& fields, AnswerOptions& options) {
  options.model = fields.String("model").value_or("");
  ReadSampling(fields, options.sampling);
  ReadStops(fields, options.stop);
  if (const auto most = fields.Integer("max_tokens", 1, kMostTokens)) options.max_tokens = *most;
  options.n = static_cast<uint32_t>(fields.Integer("n", 1, kMostChoices).value_or(1));
  options.stream = fields.Bool("stream").value_or(false);
  if (const rapidjson::Value* given = fields.Object("stream_options")) {
    JsonFields stream(*given, "stream_options");
    options.include_usage = stream.Bool("include_usage").value_or(false);
    stream.Ignore({"include_obfuscation"});
    fields.Fail(stream.Finish());
    if (!options.stream) fields.Fail("stream_options", "is for streams alone: stream is not true");
  }
  options.session_id = fields.String("session_id").value_or("");
  // Whom a call is for, and what is kept of it elsewhere, changes no answer.
  fields.Ignore(
      {"user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"});
  RefuseAllBut(fields, "store", "false");
  const std::optional<std::string> tier = fields.String("service_tier");
  if (tier.has_value() && tier != "auto" && tier != "default") {
    fields.Fail("service_tier", "is not supported, except as \"auto\" or \"default\"");
  }
}

void ReadTools(JsonFields& fields, ChatRequest& request) {
  if (const rapidjson::Value* tools = fields.Array("tools")) {
    for (rapidjson::SizeType i = 0; i < tools->Size(); ++i) {
      const std::string path = absl::StrCat("tools[", i, "]");
      if (!(*tools)[i].IsObject()) return fields.Fail(FieldError(path, "is no object"));
      JsonFields tool((*tools)[i], path);
      if (tool.String("type").value_or("") != "function") tool.Fail("type", "is not \"function\"");
      if (tool.Object("function") == nullptr) tool.Fail("function", "is missing");
      fields.Fail(tool.Finish());
      request.conversation.tools.push_back(Written((*tools)[i]));
    }
  }
  if (const rapidjson::Value* choice = fields.Find("tool_choice")) {
    const std::string given = Written(*choice);
    if (given == "\"none\"") {
      request.conversation.tools.clear();
    } else if (given != "\"auto\"") {
      fields.Fail("tool_choice", "is not supported, except as \"auto\" or \"none\"");
    }
  }
  RefuseAllBut(fields, "parallel_tool_calls", "true");
  request.parses_tool_calls = !request.conversation.tools.empty();
}

void ReadChatLogprobs(JsonFields& fields, AnswerOptions& options) {
  const bool wanted = fields.Bool("logprobs").value_or(false);
  const std::optional<int64_t> top = fields.Integer("top_logprobs", 0, kMostAlternatives);
  if (top.has_value() && !wanted) fields.Fail("top_logprobs", "needs logprobs to be true");
  if (wanted) options.top_logprobs = static_cast<uint32_t>(top.value_or(0));
}

bool IsId(const rapidjson::Value& value) { return value.IsUint() && value.GetUint() < kMostIds; }

std::optional<std::vector<uint32_t>> ReadIds(const rapidjson::Value& array) {
  std::vector<uint32_t> ids;
  for (const rapidjson::Value& id : array.GetArray()) {
    if (!IsId(id)) return std::nullopt;
    ids.push_back(id.GetUint());
  }
  return ids;
}

// A string, ids, or an array of either.
void ReadPrompts(JsonFields& fields, std::vector<CompletionRequest::Prompt>& prompts) {
  const rapidjson::Value* given = fields.Find("prompt");
  if (given == nullptr) return fields.Fail("prompt", "is missing");
  const auto read = [&prompts](const rapidjson::Value& value) {
    if (value.IsString()) {
      prompts.emplace_back(std::string(value.GetString(), value.GetStringLength()));
      return true;
    }
    if (!value.IsArray() || value.Empty()) return false;
    std::optional<std::vector<uint32_t>> ids = ReadIds(value);
    if (!ids.has_value()) return false;
    prompts.emplace_back(*std::move(ids));
    return true;
  };
  bool all = read(*given);
  if (!all && given->IsArray() && !given->Empty()) {
    const auto& array = given->GetArray();
    all = std::all_of(array.begin(), array.end(), read);
  }
  if (!all) fields.Fail("prompt", "is neither a text, nor token ids, nor an array of either");
}

}  // namespace

absl::StatusOr<ChatRequest> ParseChatRequest(std::string_view json) {
  rapidjson::Document document;
  if (absl::Status status = ParseObject(json, document); !status.ok()) return status;
  JsonFields fields(document, "");
  ChatRequest request;
  ReadOptions(fields, request.options);
  if (const auto most = fields.Integer("max_completion_tokens", 1, kMostTokens)) {
    request.options.max_tokens = *most;
  }
  ReadChatLogprobs(fields, request.options);
  ReadTools(fields, request);
  const rapidjson::Value* messages = fields.Array("messages");
  if (messages == nullptr || messages->Empty()) {
    fields.Fail("messages", "is missing or empty");
  } else {
    absl::StatusOr<std::vector<ChatMessage>> read = ReadMessages(*messages);
    fields.Fail(read.status());
    if (read.ok()) request.conversation.messages = *std::move(read);
  }
  // An extension: variables of the chat template, such as enable_thinking.
  if (const rapidjson::Value* arguments = fields.Object("chat_template_kwargs")) {
    request.conversation.template_arguments = Written(*arguments);
  }
  RefuseAllBut(fields, "response_format", R"({"type":"text"})");
  RefuseAllBut(fields, "modalities", R"(["text"])");
  if (absl::Status status = fields.Finish(); !status.ok()) return status;
  return request;
}

absl::StatusOr<CompletionRequest> ParseCompletionRequest(std::string_view json) {
  rapidjson::Document document;
  if (absl::Status status = ParseObject(json, document); !status.ok()) return status;
  JsonFields fields(document, "");
  CompletionRequest request;
  ReadOptions(fields, request.options);
  if (const auto top = fields.Integer("logprobs", 0, kMostAlternatives)) {
    request.options.top_logprobs = static_cast<uint32_t>(*top);
  }
  ReadPrompts(fields, request.prompts);
  if (request.prompts.size() * request.options.n > kMostChoices) {
    fields.Fail("n", absl::StrCat("with ", request.prompts.size(), " prompts makes more than ",
                                  kMostChoices, " choices"));
  }
  if (request.prompts.size() > 1 && !request.options.session_id.empty()) {
    fields.Fail("session_id", "holds one conversation, not several prompts");
  }
  RefuseAllBut(fields, "echo", "false");
  RefuseAllBut(fields, "suffix", "\"\"");
  RefuseAllBut(fields, "best_of", std::to_string(request.options.n));
  if (absl::Status status = fields.Finish(); !status.ok()) return status;
  return request;
}

}  // namespace kvasir::gateway

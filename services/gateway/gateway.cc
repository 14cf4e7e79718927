#include "services/gateway/gateway.h"

#include <arpa/inet.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/gateway/answer.h"
#include "services/gateway/error_answer.h"
#include "services/gateway/page_files.h"

namespace kvasir::gateway {
namespace {

using TokenizerStub = v1::TokenizerService::Stub;

constexpr std::string_view kModels = "/v1/models", kSessions = "/v1/sessions/";

HttpReply ErrorReply(const ErrorAnswer& error) {
  HttpReply reply{
      .status = error.http_status, .headers = {}, .body = error.json, .stream = nullptr};
  if (error.retry_after.has_value()) {
    const double seconds = std::ceil(absl::ToDoubleSeconds(*error.retry_after));
    reply.headers.emplace_back("Retry-After", std::to_string(static_cast<int64_t>(seconds)));
  } else if (error.http_status == 503) {
    reply.headers.emplace_back("Retry-After", "1");
  }
  return reply;
}

HttpReply JsonReply(std::string json) {
  return {.status = 200, .headers = {}, .body = std::move(json), .stream = nullptr};
}

// Of the chat page; nothing where there is none of that path.
std::optional<HttpReply> PageFile(const std::string& path) {
  const std::string name =
      path == "/" ? "index.html" : path.substr(std::min<size_t>(1, path.size()));
  const auto file = PageFiles().find(name);
  if (file == PageFiles().end()) return std::nullopt;
  const std::string_view type = name.ends_with(".html")  ? "text/html"
                                : name.ends_with(".css") ? "text/css"
                                                         : "text/javascript";
  return HttpReply{
      .status = 200,
      .headers = {{"Content-Type", absl::StrCat(std::string(type), "; charset=utf-8")},
                  {"Content-Security-Policy",
                   "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                   "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                  {"X-Content-Type-Options", "nosniff"},
                  {"Referrer-Policy", "no-referrer"},
                  {"Cache-Control", "no-cache"}},
      .body = std::string(file->second),
      .stream = nullptr};
}

// Keeps the answer until its reader has it, or has gone.
class AnswerStream final : public BodyStream {
 public:
  explicit AnswerStream(std::unique_ptr<Answer> answer) : answer_(std::move(answer)) {}
  bool Next(std::string& piece) override { return answer_->NextEvents(piece); }

 private:
  const std::unique_ptr<Answer> answer_;
};

// Whether a Host header names this host by what only this host is called.
bool NamesLoopback(std::string host) {
  if (const size_t colon = host.rfind(':'); colon != std::string::npos && !host.ends_with(']')) {
    host.resize(colon);
  }
  host = absl::AsciiStrToLower(host);
  if (host.empty() || host == "localhost" || host == "[::1]") return true;
  // An address, not a name that begins like one.
  in_addr address = {};
  return host.starts_with("127.") && inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool IsJson(std::string type) {
  type = absl::AsciiStrToLower(type);
  return type == "application/json" || type.starts_with("application/json;");
}

v1::ApplyChatTemplateRequest TemplateRequest(const Conversation& conversation) {
  v1::ApplyChatTemplateRequest request;
  for (const ChatMessage& said : conversation.messages) {
    v1::ChatMessage& message = *request.add_messages();
    message.set_role(said.role);
    if (said.content) message.set_content(*said.content);
    if (said.reasoning_content) message.set_reasoning_content(*said.reasoning_content);
    for (const ToolCall& call : said.tool_calls) {
      v1::ToolCall& made = *message.add_tool_calls();
      made.set_id(call.id);
      made.set_name(call.name);
      made.set_arguments(call.arguments);
    }
    message.set_name(said.name);
    message.set_tool_call_id(said.tool_call_id);
  }
  for (const std::string& tool : conversation.tools) request.add_tools(tool);
  request.set_template_arguments(conversation.template_arguments);
  return request;
}

// Whether the answer to a rendered conversation begins within thought.
bool OpensThinking(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n") + 1;
  return text.substr(0, end).ends_with("<think>");
}

// Nothing: the model that is asked for is the one that is served.
std::optional<HttpReply> RefuseModel(const std::string& asked, const KvasirServices::Facts& facts) {
  if (asked.empty() || asked == facts.model_name) return std::nullopt;
  return ErrorReply(MakeErrorAnswer(
      404,
      absl::StrCat("model: there is no ", asked.substr(0, 100), "; this is ", facts.model_name),
      "model_not_found"));
}

// What an answer needs besides its prompts.
struct Ask {
  KvasirServices& services;
  SessionKeeper& keeper;
  const Caller& caller;
  std::shared_ptr<const KvasirServices::Facts> facts;
  const HttpRequest& request;
};

HttpReply AnswerTo(const Ask& ask, Answer::Options options,
                   const std::vector<Answer::Prompt>& prompts, std::string_view prompt_field) {
  const bool streams = options.asked.stream;
  auto answer = std::make_unique<Answer>(ask.services, ask.keeper, ask.caller, ask.facts,
                                         std::move(options), ask.request.gone);
  if (absl::Status status = answer->Start(prompts); !status.ok()) {
    return ErrorReply(DescribeError(status, prompt_field));
  }
  if (streams) {
    return {.status = 200,
            .headers = {{"Content-Type", "text/event-stream; charset=utf-8"},
                        {"Cache-Control", "no-cache"},
                        {"X-Accel-Buffering", "no"}},  // a proxy must not collect it
            .body = "",
            .stream = std::make_unique<AnswerStream>(std::move(answer))};
  }
  absl::StatusOr<std::string> whole = answer->Whole();
  if (!whole.ok()) return ErrorReply(DescribeError(whole.status(), prompt_field));
  return JsonReply(*std::move(whole));
}

}  // namespace

HttpServer::Refusals Gateway::Refusals(size_t most_bytes) {
  const std::string too_large = absl::StrCat("the body has more than ", most_bytes, " bytes");
  return {.too_large = MakeErrorAnswer(413, too_large, "request_too_large").json,
          .no_room = MakeErrorAnswer(503, "too many large requests at once", "no_room").json,
          .draining = MakeErrorAnswer(503, "the gateway is stopping", "draining").json};
}

HttpReply Gateway::Answer(const HttpRequest& request) {
  const absl::Time begun = absl::Now();
  HttpReply reply = Route(request);
  if (request.path != "/healthz") {
    spdlog::info("{} {} {} after {:.3f} s{}", request.method, request.path, reply.status,
                 absl::ToDoubleSeconds(absl::Now() - begun),
                 reply.stream == nullptr ? "" : ", streams");
  }
  return reply;
}

HttpReply Gateway::Route(const HttpRequest& request) {
  if (only_loopback_ && !NamesLoopback(request.header("Host"))) {
    return ErrorReply(MakeErrorAnswer(
        403, "Host: this gateway serves this machine alone, under its own names", "wrong_host"));
  }
  const Caller caller = {request.header("Authorization"), request.header("traceparent")};
  const bool chat = request.path == "/v1/chat/completions";
  if (chat || request.path == "/v1/completions") {
    if (request.method != "POST") {
      return ErrorReply(MakeErrorAnswer(405, "only POST is answered here", "method_not_allowed"));
    }
    // A page of another site can send anything else without asking.
    if (!IsJson(request.header("Content-Type"))) {
      return ErrorReply(
          MakeErrorAnswer(415, "Content-Type: is not application/json", "unsupported_media_type"));
    }
    return chat ? Chat(request, caller) : Complete(request, caller);
  }
  if (request.method == "DELETE" && request.path.starts_with(kSessions)) {
    const absl::Status status = keeper_.DeleteNamed(caller, request.path.substr(kSessions.size()));
    return status.ok() ? JsonReply(R"({"deleted":true})") : ErrorReply(DescribeError(status, ""));
  }
  if (request.method != "GET" && request.method != "HEAD") {
    return ErrorReply(MakeErrorAnswer(405, "only GET is answered here", "method_not_allowed"));
  }
  if (request.path == "/healthz") return Health();
  if (std::optional<HttpReply> file = PageFile(request.path)) return *std::move(file);
  if (request.path == kModels ||
      request.path.starts_with(absl::StrCat(std::string(kModels), "/"))) {
    return Models(caller, request.path);
  }
  return ErrorReply(MakeErrorAnswer(404, "there is nothing under this path", "unknown_url"));
}

HttpReply Gateway::Health() {
  const absl::Status status = services_.CheckReached();
  if (!status.ok()) return ErrorReply(DescribeError(status, ""));
  return JsonReply(R"({"status":"ok"})");
}

HttpReply Gateway::Models(const Caller& caller, const std::string& path) {
  const auto facts = services_.Learn(caller);
  if (!facts.ok()) return ErrorReply(DescribeError(facts.status(), ""));
  // What is known already may have been asked for with another key.
  v1::GetModelInfoResponse info;
  const absl::Status allowed =
      services_.Call(services_.model(), &v1::ModelService::Stub::GetModelInfo, caller,
                     v1::GetModelInfoRequest(), info);
  if (!allowed.ok()) return ErrorReply(DescribeError(allowed, ""));
  const bool list = path == kModels;
  if (!list) {
    auto refused = RefuseModel(path.substr(kModels.size() + 1), **facts);
    if (refused.has_value()) return *std::move(refused);
  }
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
  if (list) {
    json.StartObject();
    json.Key("object");
    json.String("list");
    json.Key("data");
    json.StartArray();
  }
  json.StartObject();
  json.Key("id");
  json.String((*facts)->model_name.c_str());
  json.Key("object");
  json.String("model");
  json.Key("created");
  json.Int(0);
  json.Key("owned_by");
  json.String("kvasir");
  json.Key("max_model_len");
  json.Uint((*facts)->max_context);
  json.EndObject();
  if (list) {
    json.EndArray();
    json.EndObject();
  }
  return JsonReply({buffer.GetString(), buffer.GetSize()});
}

HttpReply Gateway::Chat(const HttpRequest& request, const Caller& caller) {
  absl::StatusOr<ChatRequest> chat = ParseChatRequest(request.body);
  if (!chat.ok()) return ErrorReply(DescribeError(chat.status(), "messages"));
  auto facts = services_.Learn(caller);
  if (!facts.ok()) return ErrorReply(DescribeError(facts.status(), ""));
  auto refused = RefuseModel(chat->options.model, **facts);
  if (refused.has_value()) return *std::move(refused);
  v1::ApplyChatTemplateResponse rendered;
  const absl::Status status =
      services_.Call(services_.tokenizer(), &TokenizerStub::ApplyChatTemplate, caller,
                     TemplateRequest(chat->conversation), rendered);
  if (!status.ok()) return ErrorReply(DescribeError(status, "messages"));
  return AnswerTo({services_, keeper_, caller, *std::move(facts), request},
                  {.asked = std::move(chat->options),
                   .chat = true,
                   .parses_tool_calls = chat->parses_tool_calls},
                  {{.ids = {rendered.ids().begin(), rendered.ids().end()},
                    .begins_thinking = OpensThinking(rendered.text())}},
                  "messages");
}

HttpReply Gateway::Complete(const HttpRequest& request, const Caller& caller) {
  absl::StatusOr<CompletionRequest> completion = ParseCompletionRequest(request.body);
  if (!completion.ok()) return ErrorReply(DescribeError(completion.status(), "prompt"));
  auto facts = services_.Learn(caller);
  if (!facts.ok()) return ErrorReply(DescribeError(facts.status(), ""));
  auto refused = RefuseModel(completion->options.model, **facts);
  if (refused.has_value()) return *std::move(refused);
  std::vector<Answer::Prompt> prompts;
  for (CompletionRequest::Prompt& prompt : completion->prompts) {
    if (auto* ids = std::get_if<std::vector<uint32_t>>(&prompt)) {
      prompts.push_back({.ids = std::move(*ids)});
      continue;
    }
    v1::EncodeRequest encode;
    encode.set_text(std::get<std::string>(std::move(prompt)));
    v1::EncodeResponse encoded;
    const absl::Status status =
        services_.Call(services_.tokenizer(), &TokenizerStub::Encode, caller, encode, encoded);
    if (!status.ok()) return ErrorReply(DescribeError(status, "prompt"));
    prompts.push_back({.ids = {encoded.ids().begin(), encoded.ids().end()}});
  }
  return AnswerTo({services_, keeper_, caller, *std::move(facts), request},
                  {.asked = std::move(completion->options), .chat = false}, prompts, "prompt");
}

}  // namespace kvasir::gateway

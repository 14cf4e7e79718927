// Bodies of requests: what they say, and what is refused by name.
#include "services/gateway/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/error.h"
#include "services/gateway/error_answer.h"

namespace kvasir::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string Chat(const std::string& more,
                 const std::string& messages = R"([{"role":"user","content":"Hi"}])") {
  return R"({"model":"m","messages":)" + messages + (more.empty() ? "" : ",") + more + "}";
}

// The field that a request is refused for; "" where it is not, "?" where none is named.
template <typename Request>
std::string FieldOf(const absl::StatusOr<Request>& request) {
  if (request.ok()) return "";
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  const auto metadata = DetailOf(request.status()).metadata;
  const auto field = metadata.find("field");
  return field == metadata.end() ? "?" : field->second;
}

TEST(ChatRequestTest, ReadsWhatIsMeant) {
  const auto request = ParseChatRequest(Chat(
      R"("temperature":0.5,"top_p":0.25,"seed":-1,"n":2,"stop":["a","b"],"max_tokens":3,
         "max_completion_tokens":5,"stream":true,"stream_options":{"include_usage":true},
         "logprobs":true,"top_logprobs":4,"presence_penalty":1,"frequency_penalty":-1,
         "logit_bias":{"7":-100,"2":1.5},"session_id":"s","user":"u","metadata":{"a":"b"},
         "store":false,"service_tier":"auto","response_format":{"type":"text"},"top_k":-1,
         "audio":null,"chat_template_kwargs":{"enable_thinking":false})",
      R"([{"role":"developer","content":[{"type":"text","text":"Be "},{"type":"text","text":"brief"}]},
          {"role":"user","content":"Hi","name":"anna"},
          {"role":"assistant","content":null,"refusal":null,"reasoning_content":"Hm",
           "tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","tool_call_id":"1","content":"ok"}])"));
  ASSERT_TRUE(request.ok()) << request.status();
  const AnswerOptions& options = request->options;
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.sampling.temperature, 0.5f);
  EXPECT_EQ(options.sampling.top_p, 0.25f);
  EXPECT_EQ(options.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(options.sampling.top_k, 0u);
  EXPECT_THAT(options.sampling.logit_bias, ElementsAre(Pair(2, 1.5f), Pair(7, -100.0f)));
  EXPECT_EQ(options.n, 2);
  EXPECT_EQ(options.max_tokens, 5);
  EXPECT_THAT(options.stop, ElementsAre("a", "b"));
  EXPECT_EQ(options.top_logprobs, 4u);
  EXPECT_TRUE(options.stream && options.include_usage);
  EXPECT_EQ(options.session_id, "s");
  const Conversation& conversation = request->conversation;
  ASSERT_EQ(conversation.messages.size(), 4);
  EXPECT_EQ(conversation.messages[0].role, "system");
  EXPECT_EQ(conversation.messages[0].content, "Be brief");
  EXPECT_EQ(conversation.messages[2].content, std::nullopt);
  EXPECT_EQ(conversation.messages[2].reasoning_content, "Hm");
  EXPECT_EQ(conversation.messages[2].tool_calls[0].name, "f");
  EXPECT_EQ(conversation.messages[3].tool_call_id, "1");
  EXPECT_EQ(conversation.template_arguments, R"({"enable_thinking":false})");
  EXPECT_FALSE(request->parses_tool_calls);
}

TEST(ChatRequestTest, Tools) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  auto request = ParseChatRequest(Chat(tools));
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_TRUE(request->parses_tool_calls);
  EXPECT_THAT(request->conversation.tools,
              ElementsAre(R"({"type":"function","function":{"name":"f"}})"));
  request = ParseChatRequest(Chat(tools + R"(,"tool_choice":"none")"));
  ASSERT_TRUE(request.ok());
  EXPECT_FALSE(request->parses_tool_calls);
  EXPECT_EQ(FieldOf(ParseChatRequest(Chat(tools + R"(,"tool_choice":"required")"))), "tool_choice");
  EXPECT_EQ(FieldOf(ParseChatRequest(Chat(tools + R"(,"parallel_tool_calls":false)"))),
            "parallel_tool_calls");
  EXPECT_EQ(FieldOf(ParseChatRequest(Chat(R"("tools":[{"type":"custom"}])"))), "tools[0].type");
}

TEST(ChatRequestTest, WhatIsWrongIsNamed) {
  for (const auto& [more, field] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"("temperature":2.5)", "temperature"},
           {R"("temperature":"hot")", "temperature"},
           {R"("top_p":0)", "top_p"},
           {R"("presence_penalty":3)", "presence_penalty"},
           {R"("seed":1.5)", "seed"},
           {R"("n":0)", "n"},
           {R"("n":129)", "n"},
           {R"("max_tokens":0)", "max_tokens"},
           {R"("max_completion_tokens":-1)", "max_completion_tokens"},
           {R"("stop":[""])", "stop"},
           {R"("stop":[1])", "stop"},
           {R"("stop":["a","b","c","d","e","f","g","h","i","j","k","l","m","n","o","p","q"])",
            "stop"},
           {R"("top_logprobs":2)", "top_logprobs"},
           {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
           {R"("logit_bias":{"x":1})", "logit_bias.x"},
           {R"("logit_bias":{"1":101})", "logit_bias.1"},
           {R"("logit_bias":{"+1":1})", "logit_bias.+1"},
           {R"("logit_bias":{"1":1,"01":2})", "logit_bias.01"},
           {R"("stream_options":{"include_usage":true})", "stream_options"},
           {R"("stream":true,"stream_options":{"more":1})", "stream_options.more"},
           {R"("functions":[])", "functions"},
           {R"("response_format":{"type":"json_object"})", "response_format"},
           {R"("store":true)", "store"},
           {R"("service_tier":"flex")", "service_tier"},
           {R"("reasoning_effort":"low")", "reasoning_effort"},
       }) {
    EXPECT_EQ(FieldOf(ParseChatRequest(Chat(more))), field) << more;
  }
}

TEST(ChatRequestTest, WhatIsWrongInMessagesIsNamed) {
  for (const auto& [messages, field] : std::initializer_list<std::pair<const char*, const char*>>{
           {"[]", "messages"},
           {"1", "messages"},
           {"[1]", "messages[0]"},
           {R"([{"role":"robot","content":"a"}])", "messages[0].role"},
           {R"([{"role":"user"}])", "messages[0].content"},
           {R"([{"role":"user","content":"a","extra":1}])", "messages[0].extra"},
           {R"([{"role":"user","content":[{"type":"image_url"}]}])", "messages[0].content[0].type"},
           {R"([{"role":"assistant","tool_calls":[{"id":"1"}]}])",
            "messages[0].tool_calls[0].function"},
       }) {
    EXPECT_EQ(FieldOf(ParseChatRequest(Chat("", messages))), field) << messages;
  }
  EXPECT_EQ(FieldOf(ParseChatRequest("{}")), "messages");
}

TEST(ChatRequestTest, BodiesThatAreNone) {
  for (const std::string& body : {std::string(), std::string("{"), std::string("[]"),
                                  std::string("{\"a\":\"\xFF\"}"), std::string(100'000, '[')}) {
    EXPECT_EQ(FieldOf(ParseChatRequest(body)), "?");
  }
}

TEST(CompletionRequestTest, ReadsPrompts) {
  const auto prompts = [](const std::string& prompt) {
    const auto request = ParseCompletionRequest(R"({"prompt":)" + prompt + "}");
    return request.ok() ? request->prompts.size() : 0;
  };
  EXPECT_EQ(prompts(R"("a")"), 1);
  EXPECT_EQ(prompts("[1,2]"), 1);
  EXPECT_EQ(prompts(R"(["a","b"])"), 2);
  EXPECT_EQ(prompts("[[1],[2],[3]]"), 3);
  for (const char* wrong : {"1", "[]", "[[]]", "[-1]", R"([1,"a"])", "null", "{}", "[1.5]"}) {
    EXPECT_EQ(prompts(wrong), 0) << wrong;
  }
}

TEST(CompletionRequestTest, WhatIsWrongIsNamed) {
  for (const auto& [more, field] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"("echo":true)", "echo"},
           {R"("suffix":"x")", "suffix"},
           {R"("best_of":2)", "best_of"},
           {R"("logprobs":21)", "logprobs"},
           {R"("messages":[])", "messages"},
           {R"("max_completion_tokens":5)", "max_completion_tokens"},
       }) {
    EXPECT_EQ(FieldOf(ParseCompletionRequest(R"({"prompt":"a",)" + std::string(more) + "}")),
              field);
  }
  EXPECT_EQ(FieldOf(ParseCompletionRequest("{}")), "prompt");
  EXPECT_EQ(FieldOf(ParseCompletionRequest(R"({"prompt":["a","b"],"n":65})")), "n");
}

TEST(ErrorAnswerTest, SaysWhatTheRequestCalledIt) {
  const ErrorAnswer top_p =
      DescribeError(MakeError(Reason::kInvalidField, "sampling.top_p: 2 is over 1",
                              {{"field", "sampling.top_p"}}),
                    "messages");
  EXPECT_EQ(top_p.http_status, 400);
  EXPECT_THAT(top_p.json, HasSubstr(R"("param":"top_p","code":"invalid_value")"));
  const ErrorAnswer context = DescribeError(
      MakeError(Reason::kContextExceeded, "too long", {{"field", "input_ids"}}), "messages");
  EXPECT_THAT(context.json, HasSubstr(R"("param":"messages","code":"context_length_exceeded")"));
  const ErrorAnswer full =
      DescribeError(MakeError(Reason::kQueueFull, "full", {}, absl::Seconds(2)), "");
  EXPECT_EQ(full.http_status, 429);
  EXPECT_EQ(full.retry_after, absl::Seconds(2));
  EXPECT_EQ(DescribeError(MakeError(Reason::kKvTooSmall, "never"), "").http_status, 400);
}

}  // namespace
}  // namespace kvasir::gateway

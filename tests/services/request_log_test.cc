#include "services/request_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <string>

#include "engine/cache/session.h"
#include "engine/error.h"
#include "services/log.h"

namespace kvasir {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

RequestRecord SomeRecord() {
  RequestRecord record;
  record.context = {
      .method = "Generate",
      .tenant = "",
      .peer = "ipv4:127.0.0.1:4000",
      .trace = *ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
      .arrived = absl::FromUnixSeconds(100),
      .begun = {}};
  record.took = absl::Milliseconds(1500);
  record.session_id = "s1";
  return record;
}

// A failure where it is none.
rapidjson::Document Parse(const std::string& json) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseValidateEncodingFlag>(json.data(), json.size());
  EXPECT_FALSE(document.HasParseError()) << json;
  EXPECT_TRUE(document.IsObject()) << json;
  return document;
}

TEST(RequestLogTest, BothFormsHaveTheSameFields) {
  RequestRecord record = SomeRecord();
  record.request_id = "r-7";
  const absl::Time at = record.context.arrived;
  record.generate = {.prompt_tokens = 30,
                     .input_tokens = 12,
                     .cached_tokens = 17,
                     .computed_tokens = 13,
                     .generated_tokens = 3,
                     .arrived = at,
                     .opened = at,
                     .admitted = at + absl::Milliseconds(250),
                     .first_token = at + absl::Milliseconds(750),
                     .generated = at + absl::Milliseconds(1250),
                     .settled = at + absl::Milliseconds(1375),
                     .finish_reason = FinishReason::kStopToken};
  const RequestLog::Line line = RequestLog::Format(record);
  EXPECT_EQ(line.text,
            "request method=Generate code=OK tenant=default session_id=s1 request_id=r-7 "
            "peer=ipv4:127.0.0.1:4000 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 "
            "span_id=00f067aa0ba902b7 input_tokens=12 cached_tokens=17 computed_tokens=13 "
            "generated_tokens=3 finish_reason=stop_token queue_seconds=0.25 prefill_seconds=0.5 "
            "decode_seconds=0.5 journal_seconds=0.125 total_seconds=1.5");
  const rapidjson::Document json = Parse(line.json);
  EXPECT_STREQ(json["method"].GetString(), "Generate");
  EXPECT_STREQ(json["session_id"].GetString(), "s1");
  EXPECT_EQ(json["computed_tokens"].GetUint(), 13);
  EXPECT_EQ(json["journal_seconds"].GetDouble(), 0.125);
  EXPECT_EQ(json["total_seconds"].GetDouble(), 1.5);
}

TEST(RequestLogTest, WhatACallDidNotComeToIsLeftOut) {
  RequestRecord record = SomeRecord();
  record.status = MakeError(Reason::kQueueFull, "the queue is full: 3 calls wait");
  EXPECT_THAT(RequestLog::Format(record).text, HasSubstr(" code=RESOURCE_EXHAUSTED "
                                                         "reason=QUEUE_FULL tenant=default "));
  EXPECT_THAT(RequestLog::Format(record).text, Not(HasSubstr("tokens")));

  const absl::Time at = record.context.arrived;
  record.generate = {.arrived = at,
                     .opened = at,
                     .admitted = absl::InfinitePast(),
                     .first_token = absl::InfinitePast(),
                     .generated = at + absl::Seconds(1),
                     .settled = at + absl::Seconds(1),
                     .finish_reason = std::nullopt};
  const std::string text = RequestLog::Format(record).text;
  EXPECT_THAT(text, HasSubstr(" generated_tokens=0 total_seconds="));
}

// What a caller sends is nobody's to break a line with.
TEST(RequestLogTest, OddIdsAreOneField) {
  const std::string odd[] = {"",
                             "two words",
                             "a\nrequest method=Forged",
                             "quote\" back\\slash = ,{}",
                             std::string("nul\0nul", 7),
                             "\x1b[31mred\x7f",
                             "größe ☃ 𝄞",
                             "broken \xff\xc3( utf-8 \xe2\x98",
                             std::string(200, 'x'),
                             std::string(126, 'x') + "☃☃☃☃",
                             std::string(1 << 20, '\xe2')};
  for (const std::string& id : odd) {
    RequestRecord record = SomeRecord();
    record.session_id = record.request_id = record.context.tenant = id;
    const RequestLog::Line line = RequestLog::Format(record);
    EXPECT_EQ(line.text.find('\n'), std::string::npos);
    EXPECT_EQ(line.json.find('\n'), std::string::npos);
    EXPECT_LT(line.json.size(), 4000);
    const rapidjson::Document json = Parse(line.json);
    if (id.empty()) {
      EXPECT_FALSE(json.HasMember("session_id"));
      continue;
    }
    const std::string shown(json["session_id"].GetString(), json["session_id"].GetStringLength());
    if (id.size() <= 128 && AsUtf8(id) == id) {
      EXPECT_EQ(shown, id);
    } else {
      EXPECT_LE(shown.size(), 128 + 3);
    }
  }
}

TEST(RequestLogTest, PromptsAreCut) {
  RequestRecord record = SomeRecord();
  const uint32_t ids[] = {1, 2, 151643};
  record.prompt = PromptOfIds(ids);
  EXPECT_THAT(RequestLog::Format(record).text, EndsWith(" prompt=\"1 2 151643\""));
  record.prompt = PromptOfText("Anna has a kite.");
  EXPECT_STREQ(Parse(RequestLog::Format(record).json)["prompt"].GetString(), "Anna has a kite.");
  record.prompt = PromptOfText(std::string(1 << 20, 'a'));
  EXPECT_LT(record.prompt.size(), 20'000);
  const rapidjson::Document json = Parse(RequestLog::Format(record).json);
  EXPECT_THAT(json["prompt"].GetString(), StartsWith("aaaa"));
  EXPECT_THAT(json["prompt"].GetString(), EndsWith("a..."));
}

TEST(LogTest, AsUtf8) {
  EXPECT_EQ(AsUtf8(""), "");
  EXPECT_EQ(AsUtf8("größe ☃ 𝄞"), "größe ☃ 𝄞");
  EXPECT_EQ(AsUtf8("a\xff z"), "a? z");
  EXPECT_EQ(AsUtf8("cut \xe2\x98"), "cut ??");
  EXPECT_EQ(AsUtf8(std::string("nul\0", 4)), std::string("nul\0", 4));
}

}  // namespace
}  // namespace kvasir

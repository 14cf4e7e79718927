#include "services/token_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace kvasir {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using Next = TokenStream::Next;

void Append(TokenStream& stream, const std::vector<int>& ids) { stream.Append(ids, {}, {}); }

TEST(TokenStream, MessagesComeInOrder) {
  TokenStream stream(100);
  v1::GenerateResponse message;
  EXPECT_EQ(stream.Take(message), Next::kNothing);
  stream.Start({.session_id = "s", .session_length = 5, .cached_tokens = 3, .seed = 9});
  Append(stream, {1});
  stream.Complete({.finish_reason = FinishReason::kStopToken, .session_length = 6});

  ASSERT_EQ(stream.Take(message), Next::kMessage);
  EXPECT_EQ(message.started().session_id(), "s");
  EXPECT_EQ(message.started().session_length(), 5);
  EXPECT_EQ(message.started().cached_tokens(), 3);
  EXPECT_EQ(message.started().seed(), 9);
  ASSERT_EQ(stream.Take(message), Next::kMessage);
  EXPECT_FALSE(message.has_started());
  EXPECT_THAT(message.chunk().ids(), ElementsAre(1));
  ASSERT_EQ(stream.Take(message), Next::kLastMessage);
  EXPECT_EQ(message.complete().finish_reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(message.complete().session_length(), 6);
  EXPECT_EQ(stream.Take(message), Next::kNothing);
}

TEST(TokenStream, WhatWaitsLeavesAsOneChunk) {
  TokenStream stream(100);
  const std::vector<TokenLogprob> prompt = {{7, 0.0f, {}}, {8, -1.5f, {}}};
  stream.Append({}, {}, prompt);
  const int id = 4;
  const TokenLogprob logprob = {4, -0.25f, {{4, -0.25f}, {5, -2.0f}}};
  stream.Append({&id, 1}, {&logprob, 1}, {});
  v1::GenerateResponse message;
  ASSERT_EQ(stream.Take(message), Next::kMessage);
  const v1::TokenChunk& chunk = message.chunk();
  EXPECT_THAT(chunk.ids(), ElementsAre(4));
  ASSERT_THAT(chunk.prompt_logprobs(), SizeIs(2));
  EXPECT_EQ(chunk.prompt_logprobs(1).id(), 8);
  EXPECT_EQ(chunk.prompt_logprobs(1).logprob(), -1.5f);
  ASSERT_THAT(chunk.logprobs(), SizeIs(1));
  ASSERT_THAT(chunk.logprobs(0).alternatives(), SizeIs(2));
  EXPECT_EQ(chunk.logprobs(0).alternatives(1).id(), 5);
  EXPECT_EQ(stream.Take(message), Next::kNothing);

  // Nothing of one chunk is left in the next.
  Append(stream, {6});
  ASSERT_EQ(stream.Take(message), Next::kMessage);
  EXPECT_THAT(message.chunk().ids(), ElementsAre(6));
  EXPECT_THAT(message.chunk().logprobs(), SizeIs(0));
  EXPECT_THAT(message.chunk().prompt_logprobs(), SizeIs(0));
}

TEST(TokenStream, FullAtItsCapacity) {
  TokenStream stream(3);
  EXPECT_TRUE(stream.HasRoom());
  Append(stream, {1, 2});
  EXPECT_TRUE(stream.HasRoom());
  const TokenLogprob prompt = {7, 0.0f, {}};
  stream.Append({}, {}, {&prompt, 1});
  EXPECT_FALSE(stream.HasRoom());
  v1::GenerateResponse message;
  ASSERT_EQ(stream.Take(message), Next::kMessage);
  EXPECT_TRUE(stream.HasRoom());
}

TEST(TokenStream, WhatCameBeforeAnErrorIsSentBeforeIt) {
  TokenStream stream(3);
  Append(stream, {1});
  stream.Fail(absl::CancelledError("gone"));
  v1::GenerateResponse message;
  ASSERT_EQ(stream.Take(message), Next::kMessage);
  EXPECT_THAT(message.chunk().ids(), ElementsAre(1));
  ASSERT_EQ(stream.Take(message), Next::kError);
  EXPECT_EQ(stream.error(), absl::CancelledError("gone"));
  EXPECT_EQ(stream.Take(message), Next::kNothing);
}

}  // namespace
}  // namespace kvasir

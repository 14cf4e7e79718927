#include "services/trace_context.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace kvasir {
namespace {

constexpr char kHeader[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContextTest, HeaderIsReadAndWritten) {
  const auto caller = ParseTraceparent(kHeader);
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(caller->span_id(), "00f067aa0ba902b7");
  EXPECT_TRUE(caller->sampled);
  EXPECT_EQ(caller->traceparent(), kHeader);
}

TEST(TraceContextTest, OnlyTheSampledFlagIsPassedOn) {
  const std::string ids(kHeader, 53);
  EXPECT_FALSE(ParseTraceparent(ids + "00")->sampled);
  EXPECT_TRUE(ParseTraceparent(ids + "ff")->sampled);
  EXPECT_EQ(ParseTraceparent(ids + "ff")->traceparent(), kHeader);
  EXPECT_FALSE(ParseTraceparent(ids + "fe")->sampled);
}

TEST(TraceContextTest, LaterVersionsMayHaveMore) {
  const std::string tail(kHeader + 2);
  EXPECT_TRUE(ParseTraceparent("01" + tail));
  EXPECT_TRUE(ParseTraceparent("cc" + tail + "-what.the-future brings"));
  EXPECT_EQ(ParseTraceparent("cc" + tail + "-more")->traceparent(), kHeader);
  EXPECT_FALSE(ParseTraceparent("cc" + tail + "more"));
  EXPECT_FALSE(ParseTraceparent("00" + tail + "-more"));
  EXPECT_FALSE(ParseTraceparent("ff" + tail));
}

TEST(TraceContextTest, WhatIsIllFormedIsIgnored) {
  const std::string header(kHeader);
  for (size_t length = 0; length < header.size(); ++length) {
    EXPECT_FALSE(ParseTraceparent(header.substr(0, length))) << length;
  }
  for (size_t at = 0; at < header.size(); ++at) {
    for (const char wrong : {'g', 'A', ' ', '\0', '\xff'}) {
      std::string text = header;
      text[at] = wrong;
      EXPECT_FALSE(ParseTraceparent(text)) << text;
    }
    if (header[at] != '-') continue;
    std::string text = header;
    text[at] = '0';
    EXPECT_FALSE(ParseTraceparent(text)) << text;
  }
  EXPECT_FALSE(ParseTraceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
  EXPECT_FALSE(ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
  EXPECT_TRUE(ParseTraceparent("00-00000000000000000000000000000001-0000000000000001-01"));
}

TEST(TraceContextTest, ChildrenAreSpansOfTheSameTrace) {
  const TraceContext parent = *ParseTraceparent(kHeader);
  const TraceContext child = parent.Child();
  EXPECT_EQ(child.trace_id(), parent.trace_id());
  EXPECT_EQ(child.parent, parent.span);
  EXPECT_NE(child.span, parent.span);
  EXPECT_TRUE(child.sampled);
}

TEST(TraceContextTest, NewTracesAreDifferent) {
  std::set<std::string> traces;
  for (int i = 0; i < 1000; ++i) {
    const TraceContext trace = NewTrace(i % 2 == 0);
    EXPECT_EQ(trace.sampled, i % 2 == 0);
    EXPECT_EQ(trace.parent, 0);
    const auto read = ParseTraceparent(trace.traceparent());
    ASSERT_TRUE(read);
    EXPECT_EQ(read->traceparent(), trace.traceparent());
    traces.insert(trace.trace_id());
  }
  EXPECT_EQ(traces.size(), 1000);
}

}  // namespace
}  // namespace kvasir

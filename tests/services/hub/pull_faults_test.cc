// A hub, a network and a disk that fail in every way: what is pulled is right, or is not there, and
// what came is not lost.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/services/hub/pull_fixture.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;
using kvasir::testing::HubReply;
using kvasir::testing::HubRequest;
using kvasir::testing::kShard1;
using kvasir::testing::kShard2;
using kvasir::testing::SmallHubModel;
using kvasir::testing::SomeBytes;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PullFaults : public kvasir::testing::PullFixture {
 protected:
  void WriteIncomplete(const std::string& name, const std::string& bytes) {
    fs::create_directories(Incomplete(name).parent_path());
    std::ofstream(Incomplete(name), std::ios::binary) << bytes;
  }

  const std::string shard1_ = SmallHubModel().at(kShard1).content;
};

// --- the connection -----------------------------------------------------------------------------

TEST_F(PullFaults, CutOffGoesOnWhereItWas) {
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) { reply.send_at_most = 100'000; });
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("", "bytes=100000-", "bytes=200000-"));
  EXPECT_EQ(progress_.done, progress_.total);
}

TEST_F(PullFaults, CutOffWithoutRangesBeginsAgain) {
  server_.set_ranges(false);
  std::atomic<int> asked = 0;
  OnContent(kShard1, [&](const HubRequest&, HubReply& reply) {
    if (++asked == 1) reply.send_at_most = 100'000;
  });
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("", "bytes=100000-"));
  EXPECT_EQ(progress_.done, progress_.total);
}

TEST_F(PullFaults, CutOffForEverIsGivenUp) {
  server_.set_ranges(false);
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) { reply.send_at_most = 100'000; });
  ExpectFails(absl::StatusCode::kUnavailable, "127.0.0.2");
  EXPECT_EQ(fs::file_size(Incomplete(kShard1)), 100'000) << "what came stays";
}

TEST_F(PullFaults, EndsEarlyAsIfThatWereAll) {
  std::atomic<int> asked = 0;
  OnContent(kShard1, [&](const HubRequest&, HubReply& reply) {
    reply.chunked = true;
    if (++asked == 1) reply.body.resize(1000);
  });
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("", "bytes=1000-"));
}

// Longer in all than the longest silence; who took that for one would never come to the end.
TEST_F(PullFaults, SlowIsNoFailure) {
  options_.times.stall = absl::Seconds(1);
  server_.set_ranges(false);
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) {
    reply.piece = 30'000;
    reply.pause = std::chrono::milliseconds(120);  // 1.2 s in all
  });
  ExpectPulls();
}

TEST_F(PullFaults, SilenceIsOne) {
  options_.times.stall = absl::Milliseconds(500);
  std::atomic<int> asked = 0;
  OnContent(kShard1, [&](const HubRequest&, HubReply& reply) {
    reply.stall = ++asked == 1;
    reply.send_at_most = reply.stall ? 150'000 : std::string::npos;
  });
  ExpectPulls();
  EXPECT_EQ(RangesOf(kShard1).at(1), "bytes=150000-");
  EXPECT_THAT(Told(), HasSubstr("not a byte for 500ms"));
}

TEST_F(PullFaults, NobodyListens) {
  options_.hub.endpoint = "http://127.0.0.1:1";
  ExpectFails(absl::StatusCode::kUnavailable, "http://127.0.0.1:1: ");
}

// --- answers ------------------------------------------------------------------------------------

TEST_F(PullFaults, ServerErrorsAreAskedAgain) {
  const std::vector<std::pair<int, std::string>> places = {{408, "/api/"},     {429, "/resolve/"},
                                                           {500, "/content/"}, {502, "/api/"},
                                                           {503, "/resolve/"}, {504, "/content/"}};
  for (const auto& [code, where] : places) {
    options_.folder = directory_.path() / absl::StrCat(code);
    std::atomic<int> failures = 0;
    server_.OnReply([&, code = code, where = where](const HubRequest& request, HubReply& reply) {
      if (request.target.find(where) != std::string::npos && failures++ < 2) {
        reply = {.code = code, .body = "<html>"};
      }
    });
    ExpectPulls();
    EXPECT_GE(failures, 2);
  }
}

TEST_F(PullFaults, ServerErrorsThatStayAreGivenUp) {
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) { reply = {.code = 503}; });
  ExpectFails(absl::StatusCode::kUnavailable,
              absl::StrCat(kShard1, ": ", server_.content_server(), " answers 503"));
  EXPECT_EQ(RangesOf(kShard1).size(), options_.attempts.attempts);
}

TEST_F(PullFaults, ItWaitsAsLongAsTheServerAsks) {
  std::atomic<int> asked = 0;
  OnContent(kShard1, [&](const HubRequest&, HubReply& reply) {
    if (++asked == 1) reply = {.code = 429, .headers = {{"Retry-After", "1"}}};
  });
  const absl::Time start = absl::Now();
  ExpectPulls();
  EXPECT_GE(absl::Now() - start, absl::Seconds(1));
  EXPECT_THAT(Told(), HasSubstr("answers 429; again in 1s"));
}

TEST_F(PullFaults, ButNotForHours) {
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) {
    reply = {.code = 429, .headers = {{"Retry-After", "7200"}}};
  });
  ExpectFails(absl::StatusCode::kUnavailable, "answers 429");
  EXPECT_EQ(RangesOf(kShard1).size(), 1);
}

TEST_F(PullFaults, RefusalsAreExplained) {
  const auto refuse = [&](int code, const char* error) {
    server_.OnReply([=](const HubRequest&, HubReply& reply) {
      reply = {.code = code, .headers = {{"X-Error-Code", error}}};
    });
  };
  refuse(401, "");
  ExpectFails(absl::StatusCode::kUnauthenticated, "HF_TOKEN");
  refuse(404, "RepoNotFound");
  ExpectFails(absl::StatusCode::kNotFound, "there is no such model");
  refuse(404, "RevisionNotFound");
  ExpectFails(absl::StatusCode::kNotFound, "there is no such revision");
  refuse(403, "GatedRepo");
  ExpectFails(absl::StatusCode::kPermissionDenied, "conditions");
  EXPECT_EQ(server_.requests().size(), 4) << "asked again";
}

TEST_F(PullFaults, WhatIsNoHubIsSaidToBeNone) {
  for (const char* body : {"<html>Please sign in</html>", "[]", "{}", R"({"sha": "main"})", "",
                           R"({"sha": "0123456789012345678901234567890123456789"})"}) {
    server_.OnReply([=](const HubRequest&, HubReply& reply) { reply = {.body = body}; });
    ExpectFails(absl::StatusCode::kFailedPrecondition, "is no hub");
  }
  server_.OnReply([](const HubRequest&, HubReply& reply) {
    reply = {.body = std::string(17 << 20, ' '), .chunked = true};
  });
  ExpectFails(absl::StatusCode::kFailedPrecondition, "longer than");
}

TEST_F(PullFaults, WithoutAHashNothingIsTrusted) {
  server_.OnReply([](const HubRequest& request, HubReply& reply) {
    if (request.method == "HEAD") reply.headers["ETag"] = "\"5d41402abc4b2a76b9719d911017c592\"";
  });
  ExpectFails(absl::StatusCode::kFailedPrecondition, "gives no hash");
  server_.OnReply([](const HubRequest& request, HubReply& reply) {
    if (request.method == "HEAD") reply.headers["X-Linked-Size"] = "many";
  });
  ExpectFails(absl::StatusCode::kFailedPrecondition, "gives no size");
  server_.OnReply([](const HubRequest& request, HubReply& reply) {
    if (request.method == "HEAD") reply.headers["X-Repo-Commit"] = std::string(40, 'a');
  });
  ExpectFails(absl::StatusCode::kFailedPrecondition, "another one");
}

// --- contents -----------------------------------------------------------------------------------

TEST_F(PullFaults, WrongLengthsAreNotTaken) {
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) { reply.body += "more"; });
  ExpectFails(absl::StatusCode::kDataLoss, "sends 300004 bytes, and the hub says 300000");
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) { reply.body.resize(1000); });
  ExpectFails(absl::StatusCode::kDataLoss, "sends 1000 bytes, and the hub says 300000");
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) {
    reply.chunked = true;
    reply.body += std::string(1 << 20, 'x');
  });
  ExpectFails(absl::StatusCode::kDataLoss, "there is more of it than the 300000 bytes");
  EXPECT_LE(fs::file_size(Incomplete(kShard1)), 300'000) << "the disk fills up";
}

TEST_F(PullFaults, WrongContentIsNotTaken) {
  OnContent(kShard1, [](const HubRequest&, HubReply& reply) { reply.body[200'000] ^= 1; });
  ExpectFails(absl::StatusCode::kDataLoss, absl::StrCat(kShard1, ": its SHA-256 is "));
  EXPECT_THAT(RangesOf(kShard1), ElementsAre(""));
  EXPECT_FALSE(fs::exists(Blob(kShard1)));
  EXPECT_FALSE(fs::exists(Incomplete(kShard1)));
}

TEST_F(PullFaults, WrongSmallContentIsNotTaken) {
  server_.OnReply([](const HubRequest& request, HubReply& reply) {
    if (request.method == "GET" && request.target.ends_with("config.json")) reply.body[0] = '[';
  });
  ExpectFails(absl::StatusCode::kDataLoss, "its blob's SHA-1 is ");
}

TEST_F(PullFaults, ADamagedBeginningComesOnceMore) {
  WriteIncomplete(kShard1, std::string(100'000, 'x'));
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("bytes=100000-", ""));
  EXPECT_THAT(Told(), HasSubstr("once more from the start"));
}

TEST_F(PullFaults, PiecesThatNeverFitComeOnlyOnceMore) {
  OnContent(kShard1, [](const HubRequest& request, HubReply& reply) {
    if (request.Header("range").empty()) {
      reply.send_at_most = 200'000;
    } else {
      reply.body[0] ^= 1;
    }
  });
  ExpectFails(absl::StatusCode::kDataLoss, "its SHA-256 is ");
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("", "bytes=200000-", "", "bytes=200000-"));
}

TEST_F(PullFaults, ABeginningThatIsWholeOrTooLong) {
  WriteIncomplete(kShard1, shard1_);
  WriteIncomplete(kShard2, SomeBytes(200'001, 7));
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre());
  EXPECT_THAT(RangesOf(kShard2), ElementsAre(""));
}

TEST_F(PullFaults, AnotherFileBetweenTwoAttempts) {
  std::atomic<int> asked = 0;
  const std::string target = absl::StrCat("/resolve/", commit_, "/", kShard1);
  server_.OnReply([&](const HubRequest& request, HubReply& reply) {
    if (request.to_content_server &&
        request.target.find(server_.HashOf(kShard1)) != std::string::npos) {
      reply.send_at_most = 1000;
    }
    if (request.method != "GET" || request.target.find(target) == std::string::npos) return;
    if (++asked == 2) reply.headers["X-Linked-Etag"] = "\"" + std::string(64, 'a') + "\"";
  });
  ExpectFails(absl::StatusCode::kDataLoss, "is another file on the hub than a moment ago");
  EXPECT_EQ(fs::file_size(Incomplete(kShard1)), 1000);
}

TEST_F(PullFaults, AnotherSmallFileThanWasDescribed) {
  server_.OnReply([](const HubRequest& request, HubReply& reply) {
    if (request.method == "GET" && !request.to_content_server) {
      reply.headers["ETag"] = "\"" + std::string(40, 'a') + "\"";
    }
  });
  ExpectFails(absl::StatusCode::kDataLoss, "is another file");
}

TEST_F(PullFaults, PartsThatWereNotAskedFor) {
  WriteIncomplete(kShard1, shard1_.substr(0, 1000));
  WriteIncomplete(kShard2, "");
  std::atomic<int> asked = 0;
  OnContent(kShard1, [&](const HubRequest&, HubReply& reply) {
    switch (++asked) {
      case 1:
        reply.headers["Content-Range"] = "bytes 2000-299999/300000";
        return;
      case 2:
        reply = {.code = 416};
        return;
      default:
        return;
    }
  });
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("bytes=1000-", "", ""));
}

// --- disks, processes, people --------------------------------------------------------------------

TEST_F(PullFaults, ADiskThatFillsUp) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small = {100'000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status status = Pull().status();
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("cannot write "), HasSubstr("stay")));
  EXPECT_FALSE(fs::exists(Snapshot()));
  std::map<std::string, std::string> rest;
  for (const char* name : {kShard1, kShard2}) {
    std::error_code none;
    const auto size = fs::file_size(Incomplete(name), none);
    rest[name] = none || size == 0 ? "" : absl::StrCat("bytes=", size, "-");
  }
  EXPECT_TRUE(!rest[kShard1].empty() || !rest[kShard2].empty());
  server_.Forget();
  ExpectPulls();
  for (const char* name : {kShard1, kShard2}) EXPECT_THAT(RangesOf(name), ElementsAre(rest[name]));
}

TEST_F(PullFaults, NoRoomIsToldAtOnce) {
  const std::string target = absl::StrCat("/", kShard1);
  server_.OnReply([=](const HubRequest& request, HubReply& reply) {
    if (request.method == "HEAD" && request.target.ends_with(target)) {
      reply.headers["X-Linked-Size"] = "1000000000000000000";
    }
  });
  ExpectFails(absl::StatusCode::kResourceExhausted, "1000000000.0 GB are to come");
  EXPECT_EQ(RangesOf(kShard1).size() + RangesOf(kShard2).size(), 0);
}

TEST_F(PullFaults, APlaceThatCannotBeWritten) {
  std::ofstream(directory_.path() / "file") << "";
  options_.hub.cache = directory_.path() / "file";
  ExpectFails(absl::StatusCode::kFailedPrecondition, options_.hub.cache.string());
}

TEST_F(PullFaults, CancelledInTheMiddleThenGoesOn) {
  Cancellation cancellation;
  OnContent(kShard1, [&](const HubRequest&, HubReply& reply) {
    reply.send_at_most = 150'000;
    reply.stall = true;
  });
  std::thread interrupt([&] {
    while (!fs::exists(Incomplete(kShard1)) || fs::file_size(Incomplete(kShard1)) < 150'000) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    cancellation.Cancel();
  });
  EXPECT_EQ(hub::Pull(options_, cancellation, progress_).status().code(),
            absl::StatusCode::kCancelled);
  interrupt.join();
  EXPECT_FALSE(fs::exists(Snapshot()));
  server_.OnReply(nullptr);
  server_.Forget();
  ExpectPulls();
  EXPECT_THAT(RangesOf(kShard1), ElementsAre("bytes=150000-"));
}

TEST_F(PullFaults, CancelledWhileItWaits) {
  server_.OnReply([](const HubRequest&, HubReply& reply) {
    reply = {.code = 503, .headers = {{"Retry-After", "60"}}};
  });
  Cancellation cancellation;
  std::thread interrupt([&] {
    while (Told().empty()) absl::SleepFor(absl::Milliseconds(5));
    cancellation.Cancel();
  });
  EXPECT_EQ(hub::Pull(options_, cancellation, progress_).status().code(),
            absl::StatusCode::kCancelled);
  interrupt.join();
}

TEST_F(PullFaults, AnotherProcessHasTheLock) {
  const fs::path lock =
      options_.hub.cache / ".locks" / "models--Acme--Small" / (server_.HashOf(kShard1) + ".lock");
  fs::create_directories(lock.parent_path());
  const int fd = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  std::thread other([&] {
    while (Told().empty()) absl::SleepFor(absl::Milliseconds(5));
    EXPECT_THAT(RangesOf(kShard1), ElementsAre()) << "fetched under another one's lock";
    // It had the file whole, as the Python library leaves it.
    std::ofstream(Blob(kShard1), std::ios::binary) << shard1_;
    close(fd);
  });
  ExpectPulls();
  other.join();
  EXPECT_THAT(Told(), HasSubstr(absl::StrCat(kShard1, ": another process fetches it; waiting")));
  EXPECT_THAT(RangesOf(kShard1), ElementsAre());
}

TEST_F(PullFaults, TwoPullsAtOnceShareTheWork) {
  PullProgress progress;
  progress.tell = [](const std::string&) {};
  Cancellation cancellation;
  std::thread other([&] {
    const auto pulled = hub::Pull(options_, cancellation, progress);
    EXPECT_TRUE(pulled.ok()) << pulled.status();
  });
  ExpectPulls();
  other.join();
  EXPECT_EQ(RangesOf(kShard1).size(), 1);
  EXPECT_EQ(RangesOf(kShard2).size(), 1);
}

}  // namespace
}  // namespace kvasir::hub

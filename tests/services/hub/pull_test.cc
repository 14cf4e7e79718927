// A model from a hub that works: what is pulled, where it lies, what is not pulled again.
#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/services/hub/pull_fixture.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;
using kvasir::testing::HubReply;
using kvasir::testing::HubRequest;
using kvasir::testing::HubServer;
using kvasir::testing::kShard1;
using kvasir::testing::kShard2;
using kvasir::testing::kWanted;
using kvasir::testing::SmallHubModel;
using kvasir::testing::SomeBytes;
using kvasir::testing::TextOf;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

using PullTest = kvasir::testing::PullFixture;

std::vector<std::string> NamesIn(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST_F(PullTest, BringsWhatKvasirReadsInTheLayoutOfThePythonLibrary) {
  const absl::StatusOr<PulledModel> pulled = Pull();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(pulled->folder, Snapshot());
  EXPECT_EQ(pulled->files, kWanted.size());
  ExpectWhole(pulled->folder);
  EXPECT_THAT(NamesIn(Snapshot()), UnorderedElementsAreArray(kWanted));
  std::vector<std::string> hashes;
  for (const std::string& name : kWanted) {
    hashes.push_back(server_.HashOf(name));
    EXPECT_EQ(fs::read_symlink(Snapshot() / name), "../../blobs/" + hashes.back());
  }
  EXPECT_THAT(NamesIn(ModelPath() / "blobs"), UnorderedElementsAreArray(hashes));
  EXPECT_EQ(TextOf(ModelPath() / "refs" / "main"), commit_);
  EXPECT_TRUE(fs::exists(options_.hub.cache / ".locks" / "models--Acme--Small" /
                         (server_.HashOf(kShard1) + ".lock")));
  EXPECT_EQ(progress_.done, progress_.total);
  EXPECT_EQ(progress_.received, progress_.total);
  EXPECT_EQ(Told(), "");
}

TEST_F(PullTest, WhatIsThereDoesNotComeAgain) {
  ExpectPulls();
  server_.Forget();
  progress_.received = 0;
  fs::remove_all(options_.hub.cache / ".locks");
  ExpectPulls();
  EXPECT_FALSE(fs::exists(options_.hub.cache / ".locks")) << "nothing has to be written";
  EXPECT_EQ(server_.Count("GET", "/content/") + server_.Count("GET", "/resolve/"), 0);
  EXPECT_EQ(progress_.received, 0);
}

TEST_F(PullTest, ACommitInFullThatIsThereNeedsNoHub) {
  options_.revision = commit_;
  ExpectPulls();
  EXPECT_FALSE(fs::exists(ModelPath() / "refs"));
  server_.Forget();
  ExpectPulls();
  EXPECT_TRUE(server_.requests().empty());
  // A tokenizer that somebody else's pull has left out is reason enough to ask.
  fs::remove(Snapshot() / "tokenizer.json");
  ExpectPulls();
  EXPECT_FALSE(server_.requests().empty());
}

TEST_F(PullTest, ABranchWithASlashIsARef) {
  options_.revision = "refs/pr/1";
  ExpectPulls();
  EXPECT_EQ(server_.Count("GET", "/revision/refs%2Fpr%2F1"), 1);
  EXPECT_EQ(TextOf(ModelPath() / "refs" / "refs" / "pr" / "1"), commit_);
}

TEST_F(PullTest, ANewCommitSharesWhatHasNotChangedAndShowsWhenItIsWhole) {
  ExpectPulls();
  std::map<std::string, HubServer::File> files = SmallHubModel();
  files[kShard2].content = SomeBytes(1000, 9);
  const std::string old_commit = commit_;
  commit_ = server_.Commit(files);
  server_.Forget();
  OnContent(kShard2, [](const HubRequest&, HubReply& reply) { reply.code = 404; });
  EXPECT_EQ(Pull().status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(Snapshot()));
  EXPECT_EQ(TextOf(ModelPath() / "refs" / "main"), old_commit);
  server_.OnReply(nullptr);
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(server_.Count("GET", server_.HashOf(kShard1)), 0);
  EXPECT_EQ(TextOf(ModelPath() / "refs" / "main"), commit_);
  EXPECT_EQ(TextOf(Snapshot() / kShard2), files[kShard2].content);
  EXPECT_EQ(TextOf(Snapshot() / kShard1), files[kShard1].content);
}

TEST_F(PullTest, ShardsComeAtTheSameTime) {
  std::mutex mutex;
  std::condition_variable changed;
  int asked = 0;
  server_.OnReply([&](const HubRequest& request, HubReply&) {
    if (request.method != "GET" ||
        (request.target.find(server_.HashOf(kShard1)) == std::string::npos &&
         request.target.find(server_.HashOf(kShard2)) == std::string::npos)) {
      return;
    }
    std::unique_lock lock(mutex);
    ++asked;
    changed.notify_all();
    changed.wait_for(lock, std::chrono::seconds(20), [&] { return asked >= 2; });
  });
  ExpectPulls();
  EXPECT_EQ(asked, 2) << "one was over before the other began";
}

TEST_F(PullTest, TheSingleFileWinsOverShards) {
  std::map<std::string, HubServer::File> files = SmallHubModel();
  files["model.safetensors"] = {SomeBytes(5000, 8), true};
  commit_ = server_.Commit(files);
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(TextOf(Snapshot() / "model.safetensors"), files["model.safetensors"].content);
  EXPECT_FALSE(fs::exists(Snapshot() / kShard1));
}

TEST_F(PullTest, AnEmptyFileAndTwoOfOneContent) {
  std::map<std::string, HubServer::File> files = SmallHubModel();
  files["generation_config.json"].content = "";
  files[kShard2] = files[kShard1];
  commit_ = server_.Commit(files);
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(fs::file_size(Snapshot() / "generation_config.json"), 0);
  EXPECT_EQ(TextOf(Snapshot() / kShard2), files[kShard1].content);
  EXPECT_EQ(server_.Count("GET", "/content/" + server_.HashOf(kShard1)), 1);
}

TEST_F(PullTest, TheTokenIsForTheHubAlone) {
  options_.hub.token = "hf_secret";
  ExpectPulls();
  int with_token = 0;
  for (const HubRequest& request : server_.requests()) {
    const std::string token = request.Header("authorization");
    EXPECT_EQ(token, request.to_content_server ? "" : "Bearer hf_secret") << request.target;
    with_token += token.empty() ? 0 : 1;
    EXPECT_THAT(request.Header("user-agent"), HasSubstr("kvasir/"));
  }
  EXPECT_GT(with_token, 0);
}

TEST_F(PullTest, ARenamedModelIsFollowed) {
  server_.OnReply([&](const HubRequest& request, HubReply& reply) {
    if (request.target.find("?moved") != std::string::npos || request.to_content_server) return;
    reply = {.code = 307, .headers = {{"Location", request.target + "?moved"}}};
  });
  options_.hub.token = "hf_secret";
  ExpectPulls();
  EXPECT_EQ(server_.requests().front().Header("authorization"), "Bearer hf_secret");
}

TEST_F(PullTest, ToAFolder) {
  options_.folder = directory_.path() / "model";
  fs::create_directories(*options_.folder);
  // Of the right size and the wrong content; right; somebody's own.
  std::ofstream(*options_.folder / kShard1) << std::string(300'000, 'x');
  std::ofstream(*options_.folder / "chat_template.jinja") << "{{ messages }}";
  std::ofstream(*options_.folder / "notes.txt") << "mine";
  const absl::StatusOr<PulledModel> pulled = Pull();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(pulled->folder, *options_.folder);
  ExpectWhole(*options_.folder);
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(*options_.folder / kShard2)));
  EXPECT_EQ(TextOf(*options_.folder / "notes.txt"), "mine");
  EXPECT_EQ(server_.Count("GET", "chat_template.jinja"), 0);
  EXPECT_FALSE(fs::exists(options_.hub.cache));

  server_.Forget();
  ExpectPulls();
  EXPECT_EQ(server_.Count("GET", "/content/") + server_.Count("GET", "/resolve/"), 0);
}

TEST_F(PullTest, Offline) {
  options_.hub.offline = true;
  ExpectFails(absl::StatusCode::kUnavailable,
              "HF_HUB_OFFLINE is set, and Acme/Small at main is not");
  options_.hub.offline = false;
  ExpectPulls();
  options_.hub.offline = true;
  server_.Forget();
  ExpectPulls();
  EXPECT_TRUE(server_.requests().empty());
  fs::remove(Blob(kShard2));
  EXPECT_EQ(Pull().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(PullTest, WhereTheHubIsGoneWhatIsThereIsUsed) {
  ExpectPulls();
  server_.OnReply([](const HubRequest&, HubReply& reply) { reply = {.code = 503}; });
  ExpectPulls();
  EXPECT_THAT(Told(), HasSubstr("answers 503; what was pulled before is there"));
  server_.OnReply([](const HubRequest&, HubReply& reply) { reply = {.code = 404}; });
  EXPECT_EQ(Pull().status().code(), absl::StatusCode::kNotFound)
      << "that the model is gone is news";
}

TEST_F(PullTest, AModelThatCannotBeServedIsRefusedBeforeItsWeightsCome) {
  std::map<std::string, HubServer::File> files = SmallHubModel();
  files["config.json"].content = R"({"model_type": "llama"})";
  commit_ = server_.Commit(files);
  ExpectFails(absl::StatusCode::kFailedPrecondition, "llama");
  EXPECT_EQ(server_.Count("GET", server_.HashOf(kShard1)), 0);
  files.erase("model.safetensors.index.json");
  commit_ = server_.Commit(files);
  ExpectFails(absl::StatusCode::kNotFound, "has no model.safetensors.index.json and no model.safe");
  files.erase("config.json");
  commit_ = server_.Commit(files);
  ExpectFails(absl::StatusCode::kNotFound, "has no config.json");
}

TEST_F(PullTest, AnIndexMayNameOnlyFilesOfTheModel) {
  std::map<std::string, HubServer::File> files = SmallHubModel();
  for (const char* shard : {"../../refs/main", "absent.safetensors", "/etc/passwd"}) {
    files["model.safetensors.index.json"].content =
        absl::StrCat(R"({"weight_map": {"a": ")", shard, R"("}})");
    commit_ = server_.Commit(files);
    const absl::Status status = Pull().status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(shard));
    EXPECT_FALSE(fs::exists(Snapshot()));
  }
}

TEST_F(PullTest, ALinkToWhatWasIsReplaced) {
  ExpectPulls();
  fs::remove(Snapshot() / kShard1);
  fs::create_symlink("../../blobs/gone", Snapshot() / kShard1);
  fs::remove(Snapshot() / kShard2);
  std::ofstream(Snapshot() / kShard2) << "a file in its place";
  ExpectPulls();
}

}  // namespace
}  // namespace kvasir::hub

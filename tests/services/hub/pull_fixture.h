#ifndef KVASIR_TESTS_SERVICES_HUB_PULL_FIXTURE_H_
#define KVASIR_TESTS_SERVICES_HUB_PULL_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "services/hub/pull.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/hub/hub_server.h"
#include "tests/services/hub/small_hub_model.h"

namespace kvasir::testing {

constexpr char kShard1[] = "model-00001-of-00002.safetensors";
constexpr char kShard2[] = "model-00002-of-00002.safetensors";

// What Kvasir reads of SmallHubModel.
inline const std::vector<std::string> kWanted = {
    "chat_template.jinja",          "config.json",    "generation_config.json", kShard1, kShard2,
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"};

// A hub with SmallHubModel, an empty cache, and pulls that do not wait for long.
class PullFixture : public ::testing::Test {
 protected:
  PullFixture() : commit_(server_.Commit(SmallHubModel())) {
    options_.id = *hub::ParseModelId(HubServer::kModel);
    options_.hub.endpoint = server_.endpoint();
    options_.hub.cache = directory_.path() / "hub";
    options_.redirect_hosts = {HubServer::kContentHost};
    options_.attempts.first_wait = absl::Milliseconds(5);
    options_.attempts.longest_wait = absl::Milliseconds(20);
    options_.times.stall = absl::Minutes(2);
    progress_.tell = [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      told_ += line + "\n";
    };
  }

  absl::StatusOr<hub::PulledModel> Pull() {
    hub::Cancellation cancellation;
    return hub::Pull(options_, cancellation, progress_);
  }

  // Pulls what must come, and come right.
  void ExpectPulls() {
    const absl::StatusOr<hub::PulledModel> pulled = Pull();
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    ExpectWhole(pulled->folder);
  }
  void ExpectWhole(const std::filesystem::path& folder) {
    for (const std::string& name : kWanted) {
      EXPECT_EQ(TextOf(folder / name), SmallHubModel().at(name).content) << name;
    }
  }

  void ExpectFails(absl::StatusCode code, const std::string& words) {
    const absl::Status status = Pull().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(words));
    EXPECT_FALSE(std::filesystem::exists(Snapshot())) << "what failed was published";
  }

  // What the content server was asked for of a large file, in order: "" is all of it.
  std::vector<std::string> RangesOf(const std::string& name) const {
    const std::string target = "/content/" + server_.HashOf(name);
    std::vector<std::string> ranges;
    for (const HubRequest& request : server_.requests()) {
      if (request.method == "GET" && request.target.starts_with(target)) {
        ranges.push_back(request.Header("range"));
      }
    }
    return ranges;
  }

  // Changes the answers to GET for one of the large files.
  void OnContent(const std::string& name,
                 const std::function<void(const HubRequest&, HubReply&)>& change) {
    server_.OnReply([target = "/content/" + server_.HashOf(name), change](const HubRequest& request,
                                                                          HubReply& reply) {
      if (request.method == "GET" && request.target.starts_with(target)) change(request, reply);
    });
  }

  std::string Told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }

  std::filesystem::path ModelPath() const { return options_.hub.cache / "models--Acme--Small"; }
  std::filesystem::path Snapshot() const { return ModelPath() / "snapshots" / commit_; }
  std::filesystem::path Blob(const std::string& name) const {
    return ModelPath() / "blobs" / server_.HashOf(name);
  }
  std::filesystem::path Incomplete(const std::string& name) const {
    return Blob(name).string() + ".incomplete";
  }

  HubServer server_;
  const TemporaryDirectory directory_;
  std::string commit_;
  hub::PullOptions options_;
  hub::PullProgress progress_;
  std::mutex mutex_;
  std::string told_;  // guarded by mutex_
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_HUB_PULL_FIXTURE_H_

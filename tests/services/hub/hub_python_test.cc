// The same cache, used by us and by the Python library huggingface_hub: each finds what the other
// one has pulled from the same hub.
#include "services/hub/model_folder.h"
#include "tests/services/hub/pull_fixture.h"
#include "tests/services/program.h"

namespace kvasir::hub {
namespace {

using kvasir::testing::HubServer;
using kvasir::testing::kShard1;
using kvasir::testing::kShard2;
using kvasir::testing::kWanted;
using kvasir::testing::Program;
using kvasir::testing::SmallHubModel;

class HubPython : public kvasir::testing::PullFixture {
 protected:
  // The folder that the library names.
  std::string Python(const std::string& action, const std::string& revision,
                     const std::vector<std::string>& files = {}) {
    std::vector<std::string> arguments = {"-B",
                                          KVASIR_SOURCE_DIR "/tests/services/hub/python_hub.py",
                                          action, HubServer::kModel, revision};
    arguments.insert(arguments.end(), files.begin(), files.end());
    Program python(KVASIR_SOURCE_DIR "/build/tools/venv/bin/python", arguments,
                   {"HF_ENDPOINT=" + server_.endpoint(), "HF_HOME=" + directory_.path().string(),
                    "HF_TOKEN=", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1"});
    EXPECT_EQ(python.Wait(), 0) << python.standard_error();
    std::string folder = python.standard_output();
    if (folder.ends_with('\n')) folder.pop_back();
    return folder;
  }
};

TEST_F(HubPython, FindsWhatWePulled) {
  ExpectPulls();
  server_.Forget();
  EXPECT_EQ(Python("find", "main", kWanted), Snapshot());
  EXPECT_EQ(Python("find", commit_, kWanted), Snapshot());
  EXPECT_TRUE(server_.requests().empty());
  // And has nothing of it sent again when it may ask.
  EXPECT_EQ(Python("download", "main"), Snapshot());
  EXPECT_EQ(server_.Count("GET", server_.HashOf(kShard1)), 0);
  EXPECT_EQ(server_.Count("GET", server_.HashOf(kShard2)), 0);
  EXPECT_EQ(server_.Count("GET", "/config.json"), 0);
  EXPECT_EQ(server_.Count("GET", "/README.md"), 1);
}

TEST_F(HubPython, WeFindWhatItPulled) {
  EXPECT_EQ(Python("download", "main"), Snapshot());
  server_.Forget();
  options_.hub.offline = true;
  ExpectPulls();
  options_.revision = commit_;
  ExpectPulls();
  EXPECT_TRUE(server_.requests().empty());
  options_.hub.offline = false;
  options_.revision = "main";
  ExpectPulls();
  EXPECT_EQ(server_.Count("GET", "/content/") + server_.Count("GET", "/resolve/"), 0);
  EXPECT_EQ(MissingFile(Snapshot(), ModelUse::kGenerate), "");
}

TEST_F(HubPython, FollowsARefThatMoves) {
  EXPECT_EQ(Python("download", "main"), Snapshot());
  std::map<std::string, HubServer::File> files = SmallHubModel();
  files["generation_config.json"].content = "{ }";
  commit_ = server_.Commit(files);
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Python("find", "main", kWanted), Snapshot());
}

}  // namespace
}  // namespace kvasir::hub

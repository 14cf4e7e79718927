#include "engine/open_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/engine/temporary_directory.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TemporaryDirectory;

BackendChoice Choice(const std::string& device) {
  BackendChoice choice;
  choice.device = device;
  choice.cpu.attention = {.heads = 2, .kv_heads = 1, .head_dim = 16, .rope_theta = 1e4};
  choice.cpu.threads = 1;
  choice.plugin = "/nonexistent/libkvasir_cuda.so";
  return choice;
}

TEST(OpenBackendTest, CpuLooksForNoGpu) {
  const absl::StatusOr<OpenedBackend> opened = OpenBackend(Choice("cpu"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->backend->device(), "cpu");
  EXPECT_EQ(opened->fallback, "");
}

TEST(OpenBackendTest, AutoFallsBackAndSaysWhy) {
  const absl::StatusOr<OpenedBackend> opened = OpenBackend(Choice("auto"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->backend->device(), "cpu");
  EXPECT_THAT(opened->fallback, HasSubstr("/nonexistent/libkvasir_cuda.so"));
}

TEST(OpenBackendTest, CudaFailsByName) {
  for (const char* device : {"cuda", "cuda:0", "cuda:17"}) {
    const absl::Status status = OpenBackend(Choice(device)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("--device=") + device + ":"));
  }
}

TEST(OpenBackendTest, RefusesOtherDevices) {
  for (const char* device : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda0"}) {
    EXPECT_EQ(OpenBackend(Choice(device)).status().code(), absl::StatusCode::kInvalidArgument)
        << device;
  }
}

TEST(OpenBackendTest, AGpuComputesBf16Only) {
  BackendChoice choice = Choice("cuda");
  choice.cpu.dtype = DType::kF32;
  const absl::Status status = OpenBackend(choice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("f32"));
}

TEST(OpenBackendTest, ALibraryOfSomethingElseIsRefused) {
  BackendChoice choice = Choice("cuda");
  const TemporaryDirectory directory;
  choice.plugin = (directory.path() / "libkvasir_cuda.so").string();
  std::ofstream(choice.plugin) << "no library";
  EXPECT_EQ(OpenBackend(choice).status().code(), absl::StatusCode::kNotFound);
  choice.plugin = "libm.so.6";  // a library without our symbol
  const absl::Status status = OpenBackend(choice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no GPU library"));
}

TEST(OpenBackendTest, ALibraryOfTheseHeadersIsAsked) {
  BackendChoice choice = Choice("cuda");
  choice.plugin = KVASIR_SAME_PLUGIN;
  EXPECT_EQ(OpenBackend(choice).status(),
            absl::ResourceExhaustedError("--device=cuda: the stand-in was asked"));
}

TEST(OpenBackendTest, ALibraryOfOtherHeadersIsRefusedInOneLine) {
  BackendChoice choice = Choice("cuda");
  choice.plugin = KVASIR_OTHER_PLUGIN;
  const absl::Status status = OpenBackend(choice).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("another version of Kvasir"), Not(HasSubstr("\n"))));
  choice.device = "auto";
  const absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->fallback, HasSubstr("another version of Kvasir"));
}

}  // namespace
}  // namespace kvasir

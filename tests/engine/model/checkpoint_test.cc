#include "engine/model/checkpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/model/weights.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/model/checkpoint_writer.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::RandomTensors;
using testing::Safetensors;
using testing::TensorBytes;
using testing::WriteFile;
using testing::WriteTensors;

ModelConfig SmallConfig() {
  return {.layers = 2,
          .hidden = 16,
          .ffn = 24,
          .vocab = 37,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = 8,
          .rope_theta = 1e4,
          .norm_eps = 1e-6f,
          .max_positions = 128,
          .tied_embeddings = false};
}

std::unique_ptr<Backend> CpuFor(const ModelConfig& config, DType dtype = DType::kBf16) {
  CpuBackendOptions options;
  options.attention = {config.heads, config.kv_heads, config.head_dim, config.rope_theta,
                       config.norm_eps};
  options.threads = 2;
  options.dtype = dtype;
  return CreateCpuBackend(options).value();
}

class CheckpointTest : public ::testing::Test {
 protected:
  const std::filesystem::path& dir() const { return directory_.path(); }

  std::string Error(const ModelConfig& config = SmallConfig()) {
    const auto checkpoint = Checkpoint::Open(dir(), config);
    EXPECT_FALSE(checkpoint.ok());
    return std::string(checkpoint.status().message());
  }
  std::string Fingerprint(const ModelConfig& config = SmallConfig()) {
    const auto backend = CpuFor(config);
    const auto weights = LoadWeights(dir(), config, *backend, nullptr);
    EXPECT_TRUE(weights.ok()) << weights.status();
    return weights.ok() ? weights->fingerprint : "";
  }

 private:
  testing::TemporaryDirectory directory_;
};

TEST_F(CheckpointTest, LoadsEveryDTypeAndBothHeads) {
  for (const DType dtype : {DType::kBf16, DType::kF16, DType::kF32}) {
    for (const bool tied : {true, false}) {
      ModelConfig config = SmallConfig();
      config.tied_embeddings = tied;
      WriteTensors(dir(), RandomTensors(config, 1, dtype));
      const auto backend = CpuFor(config);
      int64_t last = 0;
      const auto weights = LoadWeights(dir(), config, *backend, [&](int64_t done, int64_t total) {
        EXPECT_GT(done, last);
        EXPECT_LE(done, total);
        EXPECT_EQ(total, ParameterCount(config) * static_cast<int64_t>(SizeOf(dtype)));
        last = done;
      });
      ASSERT_TRUE(weights.ok()) << weights.status();
      EXPECT_EQ(last, ParameterCount(config) * static_cast<int64_t>(SizeOf(dtype)));
      EXPECT_EQ(weights->lm_head.data == nullptr, tied);
      EXPECT_EQ(weights->layers.size(), 2);
      EXPECT_EQ(weights->layers[1].qkv.rows, config.qkv_rows());
      EXPECT_EQ(weights->layers[1].gate_up.rows, 2 * config.ffn);
    }
  }
}

TEST_F(CheckpointTest, FingerprintIsOfConfigurationAndBytesAlone) {
  std::vector<TensorBytes> tensors = RandomTensors(SmallConfig(), 1);
  WriteTensors(dir(), tensors);
  const std::string fingerprint = Fingerprint();
  EXPECT_EQ(fingerprint.size(), 32);
  EXPECT_EQ(Fingerprint(), fingerprint);

  WriteTensors(dir(), tensors, 3);  // the index is preferred
  EXPECT_EQ(Fingerprint(), fingerprint);
  std::filesystem::remove(dir() / "model.safetensors.index.json");

  ModelConfig config = SmallConfig();
  config.rope_theta = 2e4;
  EXPECT_NE(Fingerprint(config), fingerprint);
  config = SmallConfig();
  config.norm_eps = 1e-5f;
  EXPECT_NE(Fingerprint(config), fingerprint);

  for (TensorBytes& tensor : tensors) {
    tensor.bytes[tensor.bytes.size() / 2] ^= 1;
    WriteTensors(dir(), tensors);
    EXPECT_NE(Fingerprint(), fingerprint) << tensor.name;
    tensor.bytes[tensor.bytes.size() / 2] ^= 1;
  }
}

TEST_F(CheckpointTest, NamesMissingSurplusAndMisshapenTensors) {
  EXPECT_THAT(Error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("No such file")));

  std::vector<TensorBytes> tensors = RandomTensors(SmallConfig(), 1);
  tensors.pop_back();
  WriteTensors(dir(), tensors);
  EXPECT_THAT(Error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("lm_head.weight"),
                             HasSubstr("missing")));

  tensors = RandomTensors(SmallConfig(), 1);
  tensors.push_back({"model.layers.9.mlp.down_proj.weight", "F32", {1}, "1234"});
  WriteTensors(dir(), tensors);
  EXPECT_THAT(Error(), AllOf(HasSubstr("model.layers.9"), HasSubstr("not part of")));

  tensors.back() = {"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {1}, "1234"};
  WriteTensors(dir(), tensors);
  EXPECT_TRUE(Checkpoint::Open(dir(), SmallConfig()).ok());

  tensors = RandomTensors(SmallConfig(), 1);
  std::swap(tensors[0].shape[0], tensors[0].shape[1]);
  WriteTensors(dir(), tensors);
  EXPECT_THAT(Error(),
              AllOf(HasSubstr("embed_tokens"), HasSubstr("[16,37]"), HasSubstr("[37,16]")));

  tensors = RandomTensors(SmallConfig(), 1);
  tensors[0].dtype = "I16";
  WriteTensors(dir(), tensors);
  EXPECT_THAT(Error(), AllOf(HasSubstr("embed_tokens"), HasSubstr("I16")));

  // A tied model may carry its head all the same.
  ModelConfig tied = SmallConfig();
  tied.tied_embeddings = true;
  WriteTensors(dir(), RandomTensors(SmallConfig(), 1));
  EXPECT_TRUE(Checkpoint::Open(dir(), tied).ok());
}

TEST_F(CheckpointTest, ShardsAndIndexMustAgree) {
  const std::vector<TensorBytes> tensors = RandomTensors(SmallConfig(), 1);
  const std::filesystem::path index = dir() / "model.safetensors.index.json";
  const std::string shard1 = "model-00001-of-00002.safetensors";
  const auto rewrite_index = [&](const std::string& from, const std::string& to) {
    WriteTensors(dir(), tensors, 2);
    std::string text = ReadFile(index).value();
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    WriteFile(index, text.replace(at, from.size(), to));
  };
  rewrite_index(shard1, "../" + shard1);
  EXPECT_THAT(Error(), AllOf(HasSubstr("index.json"), HasSubstr("weight_map"), HasSubstr("..")));
  rewrite_index(shard1, "absent.safetensors");
  EXPECT_THAT(Error(), AllOf(HasSubstr("absent.safetensors"), HasSubstr("No such file")));
  rewrite_index(shard1, "model-00002-of-00002.safetensors");
  EXPECT_THAT(Error(), HasSubstr("is not in model-00002"));
  rewrite_index("weight_map", "weights");
  EXPECT_THAT(Error(), AllOf(HasSubstr("weight_map"), HasSubstr("missing")));
  rewrite_index("\"" + shard1 + "\"", "7");
  EXPECT_THAT(Error(), HasSubstr("weight_map"));
  rewrite_index("\"lm_head.weight\"", "\"other\"");
  EXPECT_THAT(Error(), AllOf(HasSubstr("tensor 'other'"), HasSubstr("is not in")));
  rewrite_index("{", "{{");
  EXPECT_THAT(Error(), AllOf(HasSubstr("index.json"), HasSubstr("broken JSON")));

  WriteTensors(dir(), tensors, 2);
  std::vector<TensorBytes> twice;
  for (size_t i = 0; i < tensors.size(); i += 2) twice.push_back(tensors[i]);
  twice.push_back(tensors[1]);
  WriteFile(dir() / shard1, Safetensors(twice));
  EXPECT_THAT(Error(), AllOf(HasSubstr(tensors[1].name), HasSubstr("too")));
}

struct Lie {
  const char* what;
  std::string header;
  std::string data;
  const char* message;
};

TEST(SafetensorsHeader, RefusesEveryLie) {
  const std::string good = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::vector<Lie> lies = {
      {"no JSON", "{", "", "broken JSON"},
      {"no object", "[]", "", "not a JSON object"},
      {"past the file", "{" + good + "}", "1234", "leave the file"},
      {"bytes left over", "{" + good + "}", "123456789", "cover 8 of 9"},
      {"backwards", R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[8,0]}})", "12345678",
       "leave the file"},
      {"dtype and shape", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678",
       "need 12"},
      {"2^63 elements",
       R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", "12345678",
       "no size, or too much"},
      {"2^62 times 4 bytes",
       R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", "",
       "no size, or too much"},
      {"a product past 2^64",
       R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "",
       "no size, or too much"},
      {"2^64 offset",
       R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]}})", "12345678",
       "data_offsets"},
      {"negative", R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "12345678",
       "no size"},
      {"overlap", "{" + good + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       "123456789012", "within another"},
      {"hole", "{" + good + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})",
       "1234567890123456", "hole"},
      {"twice", "{" + good + "," + good + "}", "12345678", "twice"},
      {"unknown dtype", R"({"a":{"dtype":"F7","shape":[8],"data_offsets":[0,8]}})", "12345678",
       "unknown dtype 'F7'"},
      {"no dtype", R"({"a":{"shape":[2],"data_offsets":[0,8]}})", "12345678", "'dtype'"},
      {"no shape", R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", "12345678", "'shape'"},
      {"no offsets", R"({"a":{"dtype":"F32","shape":[2]}})", "12345678", "'data_offsets'"},
      {"no object", R"({"a":7})", "", "not an object"},
      {"deep", std::string(100000, '['), "", "broken JSON"},
  };
  for (const Lie& lie : lies) {
    const std::string file = Safetensors(lie.header, lie.data);
    const auto header = ParseSafetensorsHeader("x.safetensors", file, file.size());
    ASSERT_FALSE(header.ok()) << lie.what;
    EXPECT_THAT(std::string(header.status().message()),
                AllOf(HasSubstr("x.safetensors"), HasSubstr(lie.message)))
        << lie.what;
  }
  for (const uint64_t length : {uint64_t{1000}, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string file = Safetensors("{}", "");
    std::memcpy(file.data(), &length, sizeof(length));
    EXPECT_THAT(std::string(ParseSafetensorsHeader("x", file, file.size()).status().message()),
                HasSubstr("header length"));
  }
  for (size_t size = 0; size < 8; ++size) {
    EXPECT_FALSE(ParseSafetensorsHeader("x", std::string(size, '\0'), size).ok());
  }
  const std::string whole =
      Safetensors("{\"__metadata__\":{\"format\":\"pt\"}," + good + "}", "12345678");
  EXPECT_TRUE(ParseSafetensorsHeader("x", whole, whole.size()).ok());
}

// A file whose data are holes: it takes no disk.
void WriteSparse(const std::filesystem::path& path, const std::vector<TensorSpec>& specs) {
  std::vector<std::string> entries;
  int64_t offset = 0;
  for (const TensorSpec& spec : specs) {
    const int64_t bytes = 2 * int64_t{spec.rows} * (spec.cols == 0 ? 1 : spec.cols);
    entries.push_back(absl::StrFormat(
        R"("%s":{"dtype":"BF16","shape":[%d%s],"data_offsets":[%d,%d]})", spec.name, spec.rows,
        spec.cols == 0 ? "" : absl::StrCat(",", spec.cols), offset, offset + bytes));
    offset += bytes;
  }
  const std::string head = Safetensors(absl::StrCat("{", absl::StrJoin(entries, ","), "}"), "");
  WriteFile(path, head);
  std::filesystem::resize_file(path, head.size() + static_cast<uint64_t>(offset));
}

ModelConfig Qwen3_4B() {
  return {.layers = 36,
          .hidden = 2560,
          .ffn = 9728,
          .vocab = 151936,
          .heads = 32,
          .kv_heads = 8,
          .head_dim = 128,
          .rope_theta = 5e6,
          .norm_eps = 1e-6f,
          .max_positions = 262144,
          .tied_embeddings = true};
}

TEST_F(CheckpointTest, OpensThreeShardsOfQwen3_4B) {
  const std::vector<TensorSpec> specs = ExpectedTensors(Qwen3_4B());
  std::vector<std::string> map;
  for (size_t shard = 0; shard < 3; ++shard) {
    const std::string name = absl::StrFormat("model-%05d-of-00003.safetensors", shard + 1);
    const std::vector<TensorSpec> part(specs.begin() + specs.size() * shard / 3,
                                       specs.begin() + specs.size() * (shard + 1) / 3);
    WriteSparse(dir() / name, part);
    for (const TensorSpec& spec : part)
      map.push_back(absl::StrFormat(R"("%s":"%s")", spec.name, name));
  }
  WriteFile(dir() / "model.safetensors.index.json",
            absl::StrCat(R"({"metadata":{"total_size":8044936192},"weight_map":{)",
                         absl::StrJoin(map, ","), "}}"));
  const auto checkpoint = Checkpoint::Open(dir(), Qwen3_4B());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs) bytes += checkpoint->Bytes(spec.name).size();
  EXPECT_EQ(bytes, 8'044'936'192);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Peak resident memory, mapped file pages included, in a process of its own.
TEST_F(CheckpointTest, LoadsWithinOneModelOfMemory) {
  ModelConfig config = Qwen3_4B();
  config.layers = 16;  // of 0.6B: one matrix, the embedding, must not be most of the model
  config.hidden = 1024;
  config.ffn = 3072;
  config.heads = 16;
  const int64_t weights_bytes = 2 * ParameterCount(config);
  ASSERT_GT(weights_bytes, 500'000'000);
  WriteSparse(dir() / "model.safetensors", ExpectedTensors(config));
  int to_parent[2];
  ASSERT_EQ(pipe(to_parent), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto backend = CpuFor(config);
    const bool ok = LoadWeights(dir(), config, *backend, nullptr).ok();
    struct rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    const int64_t peak = ok ? usage.ru_maxrss * 1024 : -1;
    (void)!write(to_parent[1], &peak, sizeof(peak));
    _exit(0);
  }
  int64_t peak = 0;
  ASSERT_EQ(read(to_parent[0], &peak, sizeof(peak)), static_cast<ssize_t>(sizeof(peak)));
  waitpid(child, nullptr, 0);
  EXPECT_GT(peak, weights_bytes);
  EXPECT_LE(peak, weights_bytes * 1.15);
  RecordProperty("peak_over_weights", absl::StrCat(double(peak) / double(weights_bytes)));
  std::printf("peak resident %.3f x the weights' bf16 bytes\n",
              double(peak) / double(weights_bytes));
}
#endif

}  // namespace
}  // namespace kvasir

#include "engine/model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/model/weights.h"
#include "tests/engine/engine_harness.h"
#include "tests/engine/model/checkpoint_writer.h"
#include "tests/engine/temporary_directory.h"

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

  std::filesystem::remove(dir() / "model.safetensors");
  WriteTensors(dir(), tensors, 3);
  EXPECT_EQ(Fingerprint(), fingerprint);

  // Every value that the shapes of the tensors leave open.
  const std::function<void(ModelConfig&)> edits[] = {
      [](ModelConfig& c) { c.rope_theta = 2e4; }, [](ModelConfig& c) { c.norm_eps = 1e-5f; },
      [](ModelConfig& c) { c.max_positions = 129; }, [](ModelConfig& c) { c.dtype = DType::kF16; },
      [](ModelConfig& c) { c.tied_embeddings = true; }};
  std::set<std::string> seen = {fingerprint};
  for (const auto& edit : edits) {
    ModelConfig config = SmallConfig();
    edit(config);
    EXPECT_TRUE(seen.insert(Fingerprint(config)).second);
  }

  WriteTensors(dir(), tensors);  // beside an index, as in transformers, the single file is read
  for (TensorBytes& tensor : tensors) {
    tensor.bytes[tensor.bytes.size() / 2] ^= 1;
    WriteTensors(dir(), tensors);
    EXPECT_TRUE(seen.insert(Fingerprint()).second) << tensor.name;
    tensor.bytes[tensor.bytes.size() / 2] ^= 1;
  }
  // The order within a file says nothing.
  std::ranges::reverse(tensors);
  WriteTensors(dir(), tensors);
  EXPECT_EQ(Fingerprint(), fingerprint);
}

// dtypes may be mixed; the same bits under another dtype are another model.
TEST_F(CheckpointTest, MixesDTypes) {
  std::vector<TensorBytes> tensors = RandomTensors(SmallConfig(), 1);
  const std::vector<TensorBytes> f32 = RandomTensors(SmallConfig(), 1, DType::kF32);
  for (size_t i = 0; i < tensors.size(); i += 2) tensors[i] = f32[i];
  WriteTensors(dir(), tensors);
  const std::string mixed = Fingerprint();
  tensors[1].dtype = "F16";
  WriteTensors(dir(), tensors);
  EXPECT_NE(Fingerprint(), mixed);
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

  // What nobody reads may be of a dtype that nobody knows.
  for (const char* dtype : {"F32", "F7"}) {
    tensors.back() = {"model.layers.0.self_attn.rotary_emb.inv_freq", dtype, {1}, "1234"};
    WriteTensors(dir(), tensors);
    EXPECT_TRUE(Checkpoint::Open(dir(), SmallConfig()).ok());
  }

  tensors = RandomTensors(SmallConfig(), 1);
  std::swap(tensors[0].shape[0], tensors[0].shape[1]);
  WriteTensors(dir(), tensors);
  EXPECT_THAT(Error(),
              AllOf(HasSubstr("embed_tokens"), HasSubstr("[16,37]"), HasSubstr("[37,16]")));

  tensors = RandomTensors(SmallConfig(), 1);
  for (const char* dtype : {"I16", "F7", R"(BF16\u0000)"}) {
    tensors[0].dtype = dtype;
    WriteTensors(dir(), tensors);
    EXPECT_THAT(Error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("embed_tokens"),
                               HasSubstr("is not one of BF16, F16, F32")));
  }

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
  const std::string shard2 = "model-00002-of-00002.safetensors";
  const auto rewrite_index = [&](const std::string& from, const std::string& to) {
    WriteTensors(dir(), tensors, 2);
    std::string text = ReadFile(index).value();
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    WriteFile(index, text.replace(at, from.size(), to));
  };
  for (const std::string& path : {"../" + shard1, "/etc/" + shard1, "a/" + shard1, ".." + shard1,
                                  R"(a\\)" + shard1, shard1 + R"(\u0000)", std::string()}) {
    rewrite_index(shard1, path);
    EXPECT_THAT(Error(), AllOf(HasSubstr("index.json"), HasSubstr("weight_map"),
                               HasSubstr("no plain file name")))
        << path;
  }
  rewrite_index(shard1, "absent.safetensors");
  EXPECT_THAT(Error(), AllOf(HasSubstr("absent.safetensors"), HasSubstr("No such file")));
  rewrite_index(shard1, shard2);
  EXPECT_THAT(Error(), HasSubstr("is not in model-00002"));
  rewrite_index("\"" + tensors[0].name + "\":", "\"" + tensors[1].name + "\":");
  EXPECT_THAT(Error(),
              AllOf(HasSubstr("index.json"), HasSubstr(tensors[1].name), HasSubstr("twice")));
  // In its shard, but not in the index.
  rewrite_index("\"" + tensors[0].name + "\":\"" + shard1 + "\",", "");
  EXPECT_THAT(Error(),
              AllOf(HasSubstr(shard1), HasSubstr(tensors[0].name), HasSubstr("not in the index")));
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
      {"a field twice", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"dtype":"BF16"}})",
       "12345678", "field 'dtype' is there twice"},
      {"three offsets", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", "12345678",
       "data_offsets"},
      {"no dtype", R"({"a":{"shape":[2],"data_offsets":[0,8]}})", "12345678", "'dtype'"},
      {"no shape", R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", "12345678", "'shape'"},
      {"no offsets", R"({"a":{"dtype":"F32","shape":[2]}})", "12345678", "'data_offsets'"},
      {"no object", R"({"a":7})", "", "not an object"},
      {"no UTF-8", "{\"\xff\":0}", "", "broken JSON"},
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

int64_t Bf16Bytes(const TensorSpec& spec) {
  return 2 * int64_t{spec.rows} * (spec.cols == 0 ? 1 : spec.cols);
}

// A file whose data are holes: it takes no disk.
void WriteSparse(const std::filesystem::path& path, const std::vector<TensorSpec>& specs) {
  std::vector<std::string> entries;
  int64_t offset = 0;
  for (const TensorSpec& spec : specs) {
    const int64_t bytes = Bf16Bytes(spec);
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

// As save_pretrained deals tensors out: a new shard where the next one would exceed the limit.
std::vector<std::vector<TensorSpec>> Shards(const std::vector<TensorSpec>& specs, int64_t limit) {
  std::vector<std::vector<TensorSpec>> shards(1);
  int64_t bytes = 0;
  for (const TensorSpec& spec : specs) {
    if (bytes + Bf16Bytes(spec) > limit) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(spec);
    bytes += Bf16Bytes(spec);
  }
  return shards;
}

TEST_F(CheckpointTest, OpensThreeShardsOfQwen3_4B) {
  const std::vector<TensorSpec> specs = ExpectedTensors(Qwen3_4B());
  // The limit with which 8.04 GB make three shards.
  const std::vector<std::vector<TensorSpec>> shards = Shards(specs, 4'000'000'000);
  ASSERT_EQ(shards.size(), 3);
  std::vector<std::string> map;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, 3);
    WriteSparse(dir() / name, shards[i]);
    for (const TensorSpec& spec : shards[i]) {
      map.push_back(absl::StrFormat(R"("%s":"%s")", spec.name, name));
    }
  }
  ASSERT_EQ(map.size(), 398);
  WriteFile(dir() / "model.safetensors.index.json",
            absl::StrCat(R"({"metadata":{"total_size":8044936192},"weight_map":{)",
                         absl::StrJoin(map, ","), "}}"));
  const auto checkpoint = Checkpoint::Open(dir(), Qwen3_4B());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs) bytes += checkpoint->Bytes(spec.name).size();
  EXPECT_EQ(bytes, 8'044'936'192);

  // Every shape is looked at.
  ModelConfig other = Qwen3_4B();
  other.ffn -= 1;
  EXPECT_THAT(Error(other), AllOf(HasSubstr("mlp.gate_proj.weight"), HasSubstr("[9728,2560]")));
  other = Qwen3_4B();
  other.layers += 1;
  EXPECT_THAT(Error(other), AllOf(HasSubstr("model.layers.36."), HasSubstr("missing")));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Peak resident memory, mapped file pages included, in a process of its own.
// -1 where loading failed.
int64_t PeakOfLoading(const std::filesystem::path& dir, const ModelConfig& config) {
  int to_parent[2];
  if (pipe(to_parent) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const auto backend = CpuFor(config);
    const bool ok = LoadWeights(dir, config, *backend, nullptr).ok();
    struct rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    const int64_t peak = ok ? usage.ru_maxrss * 1024 : -1;
    (void)!write(to_parent[1], &peak, sizeof(peak));
    _exit(0);
  }
  close(to_parent[1]);
  int64_t peak = -1;
  const ssize_t got = read(to_parent[0], &peak, sizeof(peak));
  close(to_parent[0]);
  waitpid(child, nullptr, 0);
  return got == static_cast<ssize_t>(sizeof(peak)) ? peak : -1;
}

TEST_F(CheckpointTest, LoadsWithinOneModelOfMemory) {
  ModelConfig config = Qwen3_4B();
  config.layers = 16;  // of 0.6B
  config.hidden = 1024;
  config.ffn = 3072;
  config.heads = 16;
  for (const bool tied : {true, false}) {  // an own head is nearly a third of this model
    config.tied_embeddings = tied;
    const int64_t weights_bytes = 2 * ParameterCount(config);
    ASSERT_GT(weights_bytes, 500'000'000);
    WriteSparse(dir() / "model.safetensors", ExpectedTensors(config));
    const int64_t peak = PeakOfLoading(dir(), config);
    EXPECT_GT(peak, weights_bytes);
    EXPECT_LE(peak, weights_bytes * 1.15);
    std::printf("peak resident %.3f x the weights' bf16 bytes, %s\n",
                double(peak) / double(weights_bytes), tied ? "tied" : "own head");
  }
}
#endif

}  // namespace
}  // namespace kvasir

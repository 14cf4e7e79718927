#include "engine/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "rapidjson/document.h"
#include "rapidjson/stringbuffer.h"
#include "rapidjson/writer.h"

namespace kvasir {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Of Qwen3-4B-Instruct-2507's form and sizes.
constexpr char kQwen3_4B[] = R"({
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
  "hidden_size": 2560, "initializer_range": 0.02, "intermediate_size": 9728,
  "max_position_embeddings": 262144, "max_window_layers": 36, "model_type": "qwen3",
  "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
  "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 5000000, "sliding_window": null,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
  "use_sliding_window": false, "vocab_size": 151936})";

// The configuration with `field` replaced by `json` (removed where empty).
std::string With(const char* field, const char* json) {
  rapidjson::Document document;
  document.Parse(kQwen3_4B);
  document.RemoveMember(field);
  rapidjson::Document value;
  if (*json != '\0') {
    value.Parse(json);
    document.AddMember(rapidjson::StringRef(field), value, document.GetAllocator());
  }
  rapidjson::StringBuffer text;
  rapidjson::Writer<rapidjson::StringBuffer> writer(text);
  document.Accept(writer);
  return text.GetString();
}

TEST(ModelConfig, ReadsQwen3_4B) {
  const auto config = ParseModelConfig(kQwen3_4B);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 36);
  EXPECT_EQ(config->hidden, 2560);
  EXPECT_EQ(config->heads * config->head_dim, 4096);
  EXPECT_EQ(config->rope_theta, 5e6);
  EXPECT_EQ(config->max_positions, 262144);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->dtype, DType::kBf16);
}

TEST(ModelConfig, DerivesTheRealSizes) {
  const ModelConfig config = *ParseModelConfig(kQwen3_4B);
  EXPECT_EQ(ExpectedTensors(config).size(), 398);
  EXPECT_EQ(ParameterCount(config), 4'022'468'096);
  EXPECT_EQ(ParameterCount(config) * 2, 8'044'936'192);
  // K and V of a token in bf16.
  EXPECT_EQ(2 * 2 * config.layers * config.kv_heads * config.head_dim, 147'456);
}

TEST(ModelConfig, TakesTheNewSpelling) {
  std::string json = With("rope_theta", "");
  json.insert(1, R"("rope_parameters":{"rope_theta":1000000,"rope_type":"default"},)");
  auto config = ParseModelConfig(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope_theta, 1e6);

  json = With("torch_dtype", "");
  json.insert(1, R"("dtype":"float32",)");
  config = ParseModelConfig(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->dtype, DType::kF32);
}

TEST(ModelConfig, TakesTransformersDefaults) {
  EXPECT_EQ(ParseModelConfig(With("head_dim", ""))->head_dim, 128);
  EXPECT_FALSE(ParseModelConfig(With("tie_word_embeddings", ""))->tied_embeddings);
  EXPECT_EQ(ParseModelConfig(With("max_position_embeddings", ""))->max_positions, 32768);
  EXPECT_TRUE(ParseModelConfig(With("hidden_act", "")).ok());
}

TEST(ModelConfig, TakesWhatIsNotInUse) {
  // transformers reads sliding_window only where use_sliding_window is true.
  EXPECT_TRUE(ParseModelConfig(With("sliding_window", "4096")).ok());
  EXPECT_TRUE(ParseModelConfig(With("layer_types", R"(["full_attention","full_attention"])")).ok());
  EXPECT_TRUE(ParseModelConfig(With("partial_rotary_factor", "1.0")).ok());
}

struct BadField {
  const char* field;
  const char* json;
  const char* message;
};

class BadConfigTest : public ::testing::TestWithParam<BadField> {};

TEST_P(BadConfigTest, IsRefusedByName) {
  const auto config = ParseModelConfig(With(GetParam().field, GetParam().json));
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(config.status().message()),
      AllOf(HasSubstr("config.json"), HasSubstr(GetParam().field), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadConfigTest,
    ::testing::Values(
        BadField{"model_type", "", "missing"}, BadField{"model_type", "\"llama\"", "llama"},
        BadField{"model_type", "7", "not a string"},
        BadField{"model_type", R"("qwen3\u0000x")", "not implemented"},
        BadField{"hidden_act", "\"gelu\"", "gelu"},
        BadField{"attention_bias", "true", "not implemented"},
        BadField{"attention_bias", "1", "not true or false"},
        BadField{"mlp_bias", "true", "not implemented"},
        BadField{"use_sliding_window", "true", "not implemented"},
        BadField{"rope_scaling", R"({"type":"yarn","factor":4})", "yarn"},
        BadField{"rope_scaling", R"({"rope_type":"linear"})", "linear"},
        BadField{"rope_scaling", R"({"factor":4})", "factor"},
        BadField{"rope_scaling", R"({"type":"yarn\u0000"})", "not implemented"},
        BadField{"rope_scaling", "[]", "not an object"},
        BadField{"rope_parameters", R"({"rope_type":"yarn","rope_theta":1e6})", "yarn"},
        BadField{"rope_parameters", R"({"partial_rotary_factor":0.5})", "only 1"},
        BadField{"rope_parameters", R"({"rope_theta":1e6,"rope_theta":1e4})", "twice"},
        BadField{"rope_parameters", R"({"rope_theta":"x"})", "rope_parameters.rope_theta"},
        BadField{"quantization_config", R"({"quant_method":"fp8"})", "not implemented"},
        BadField{"layer_types", R"("full_attention")", "not a list"},
        BadField{"layer_types", R"(["full_attention","sliding_attention"])", "full_attention"},
        BadField{"partial_rotary_factor", "0.5", "only 1"}, BadField{"rope_theta", "", "missing"},
        BadField{"rope_theta", "0", "not within 1 to"},
        BadField{"rope_theta", "1e300", "not within 1 to"},
        BadField{"rope_theta", "\"x\"", "not a number"}, BadField{"rms_norm_eps", "", "missing"},
        BadField{"rms_norm_eps", "-1e-6", "not within"},
        BadField{"rms_norm_eps", "0", "not within"},
        BadField{"rms_norm_eps", "1e-60", "not within"},
        BadField{"num_hidden_layers", "", "missing"},
        BadField{"num_hidden_layers", "0", "no whole number from 1"},
        BadField{"num_hidden_layers", "2.5", "no whole number"},
        BadField{"num_hidden_layers", "1000000", "to 1024"},
        BadField{"hidden_size", "-5", "no whole number"},
        BadField{"hidden_size", "9223372036854775808", "no whole number"},
        BadField{"intermediate_size", "\"9728\"", "not a number"},
        BadField{"vocab_size", "0", "no whole number"},
        BadField{"num_attention_heads", "0", "no whole number"},
        BadField{"num_key_value_heads", "", "missing"},
        BadField{"num_key_value_heads", "5", "does not divide"},
        BadField{"num_key_value_heads", "64", "to 32"}, BadField{"head_dim", "127", "odd"},
        BadField{"head_dim", "100000", "to 1024"},
        BadField{"max_position_embeddings", "0", "no whole number"},
        BadField{"tie_word_embeddings", "\"yes\"", "not true or false"},
        BadField{"torch_dtype", "\"float64\"", "float64"},
        BadField{"dtype", "16", "not a string"}));

TEST(ModelConfig, ScalingInEitherSpellingIsSeen) {
  std::string json = With("rope_scaling", R"({"rope_type":"default","rope_theta":1e6})");
  EXPECT_EQ(ParseModelConfig(json)->rope_theta, 1e6);
  json.insert(1, R"("rope_parameters":{"rope_type":"yarn"},)");
  EXPECT_THAT(std::string(ParseModelConfig(json).status().message()),
              HasSubstr("rope_parameters.rope_type"));
}

TEST(ModelConfig, FieldThatIsThereTwiceIsRefused) {
  std::string json = kQwen3_4B;
  json.insert(1, R"("hidden_size": 2048,)");
  EXPECT_THAT(std::string(ParseModelConfig(json).status().message()),
              AllOf(HasSubstr("config.json"), HasSubstr("'hidden_size'"), HasSubstr("twice")));
}

TEST(ModelConfig, BrokenJsonIsSaidWhere) {
  for (const std::string& json : {std::string(""), std::string("{"), std::string("[]"),
                                  std::string("{\"a\":\"\xff\"}"), std::string(200000, '[')}) {
    const auto config = ParseModelConfig(json);
    ASSERT_FALSE(config.ok());
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("config.json"));
  }
}

TEST(GenerationConfig, ReadsQwen3_4B) {
  const ModelConfig config = *ParseModelConfig(kQwen3_4B);
  const auto generation = ParseGenerationConfig(
      R"({"bos_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
          "pad_token_id": 151643, "temperature": 0.7, "top_k": 20, "top_p": 0.8})",
      kQwen3_4B, config);
  ASSERT_TRUE(generation.ok()) << generation.status();
  EXPECT_THAT(generation->eos_token_ids, ElementsAre(151645, 151643));
  EXPECT_EQ(generation->sampling.temperature, 0.7f);
  EXPECT_EQ(generation->sampling.top_k, 20);
  EXPECT_EQ(generation->sampling.top_p, 0.8f);
  EXPECT_FALSE(generation->sampling.min_p.has_value());
}

TEST(GenerationConfig, FallsBack) {
  const ModelConfig config = *ParseModelConfig(kQwen3_4B);
  EXPECT_THAT(ParseGenerationConfig("", kQwen3_4B, config)->eos_token_ids, ElementsAre(151645));
  EXPECT_THAT(ParseGenerationConfig("{}", kQwen3_4B, config)->eos_token_ids, ElementsAre(151645));
  // More than the vocabulary is no limit, as in transformers.
  EXPECT_TRUE(ParseGenerationConfig(R"({"top_k": 200000})", kQwen3_4B, config).ok());
  EXPECT_EQ(ParseGenerationConfig(R"({"do_sample": false, "temperature": 0.7})", kQwen3_4B, config)
                ->sampling.temperature,
            0.0f);
}

TEST(GenerationConfig, RefusesByName) {
  const ModelConfig config = *ParseModelConfig(kQwen3_4B);
  EXPECT_THAT(
      std::string(
          ParseGenerationConfig("", R"({"eos_token_id": 151936})", config).status().message()),
      AllOf(HasSubstr("config.json: field 'eos_token_id'"), HasSubstr("151936")));
  for (const auto& [json, field] :
       {std::pair{R"({"eos_token_id": 151936})", "eos_token_id"},
        std::pair{R"({"eos_token_id": ["x"]})", "eos_token_id"},
        std::pair{R"({"eos_token_id": -1})", "eos_token_id"},
        std::pair{R"({"temperature": "hot"})", "temperature"},
        std::pair{R"({"temperature": -1})", "temperature"}, std::pair{R"({"top_p": 2})", "top_p"},
        std::pair{R"({"top_k": -1})", "top_k"},
        std::pair{R"({"temperature": 1e300})", "temperature"},
        std::pair{R"({"min_p": -0.1})", "min_p"},
        std::pair{R"({"repetition_penalty": 0})", "repetition_penalty"},
        std::pair{R"({"do_sample": "no"})", "do_sample"}, std::pair{"[]", "not a JSON object"},
        std::pair{"{", "broken JSON"}}) {
    const auto generation = ParseGenerationConfig(json, kQwen3_4B, config);
    ASSERT_FALSE(generation.ok()) << json;
    EXPECT_THAT(std::string(generation.status().message()),
                AllOf(HasSubstr("generation_config.json"), HasSubstr(field)));
  }
}

}  // namespace
}  // namespace kvasir

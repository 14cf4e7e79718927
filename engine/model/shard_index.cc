#include "engine/model/shard_index.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/json_fields.h"

namespace kvasir {
namespace {

bool IsPlainFileName(std::string_view name) {
  const auto is_plain = [](char c) { return c != '/' && c != '\\' && c != '\0'; };
  return !name.empty() && !name.starts_with('.') && std::ranges::all_of(name, is_plain);
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseShardIndex(std::string_view json) {
  const absl::StatusOr<rapidjson::Document> document = JsonFields::Parse(kShardIndexFile, json);
  if (!document.ok()) return document.status();
  const JsonFields fields(kShardIndexFile, *document);
  const rapidjson::Value* map = fields.Find("weight_map");
  if (map == nullptr) return fields.Error("weight_map", "is missing");
  if (!map->IsObject()) return fields.Error("weight_map", "is not an object");
  std::map<std::string, std::string> shards;
  for (const auto& member : map->GetObject()) {
    const std::string tensor(TextOf(member.name));
    if (!member.value.IsString()) {
      return fields.Error("weight_map", absl::StrCat("'", tensor, "' has no file name"));
    }
    const std::string shard(TextOf(member.value));
    if (!IsPlainFileName(shard)) {
      return fields.Error("weight_map", absl::StrCat("'", shard, "' is no plain file name"));
    }
    if (!shards.emplace(tensor, shard).second) {
      return fields.Error("weight_map", absl::StrCat("names '", tensor, "' twice"));
    }
  }
  return shards;
}

}  // namespace kvasir

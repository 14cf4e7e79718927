// What a pull is made of: addresses, hosts, hashes, headers, names, settings, the cache.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "services/hub/host_policy.h"
#include "services/hub/hub_answers.h"
#include "services/hub/hub_cache.h"
#include "services/hub/hub_settings.h"
#include "services/hub/model_folder.h"
#include "services/hub/public_address.h"
#include "tests/engine/temporary_directory.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;
using kvasir::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::Not;

// --- addresses and hosts ------------------------------------------------------------------------

bool IsPublic(const std::string& text) {
  sockaddr_storage storage = {};
  auto* in = reinterpret_cast<sockaddr_in*>(&storage);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, text.c_str(), &in->sin_addr) == 1) {
    storage.ss_family = AF_INET;
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &in6->sin6_addr), 1) << text;
    storage.ss_family = AF_INET6;
  }
  const auto& address = reinterpret_cast<const sockaddr&>(storage);
  EXPECT_NE(AddressText(address), "");
  return IsPublicAddress(address);
}

TEST(PublicAddress, Public) {
  for (const char* address :
       {"1.1.1.1",           "9.255.255.255",        "11.0.0.0",       "100.63.255.255",
        "100.128.0.0",       "126.255.255.255",      "128.0.0.0",      "169.253.255.255",
        "169.255.0.0",       "172.15.255.255",       "172.32.0.0",     "192.167.255.255",
        "192.169.0.0",       "198.17.255.255",       "198.20.0.0",     "223.255.255.255",
        "2600:9000:2000::1", "2001:4860:4860::8888", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
        "2002:101:101::"}) {
    EXPECT_TRUE(IsPublic(address)) << address;
  }
}

TEST(PublicAddress, NotPublic) {
  for (const char* address : {"0.0.0.0",
                              "0.255.255.255",
                              "10.0.0.0",
                              "10.255.255.255",
                              "100.64.0.0",
                              "100.127.255.255",
                              "127.0.0.1",
                              "127.255.255.255",
                              "169.254.169.254",
                              "172.16.0.0",
                              "172.31.255.255",
                              "192.0.0.1",
                              "192.0.2.1",
                              "192.88.99.1",
                              "192.168.0.0",
                              "192.168.255.255",
                              "198.18.0.0",
                              "198.19.255.255",
                              "198.51.100.1",
                              "203.0.113.1",
                              "224.0.0.1",
                              "239.255.255.255",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:127.0.0.1",
                              "::ffff:10.0.0.1",
                              "::127.0.0.1",
                              "64:ff9b::10.0.0.1",
                              "64:ff9b:1::1",
                              "2002:a00:1::",
                              "2002:7f00:1::",
                              "fc00::1",
                              "fdff::1",
                              "fe80::1",
                              "fec0::1",
                              "ff02::1",
                              "2001::1",
                              "2001:1ff::1",
                              "2001:db8::1",
                              "3fff::1",
                              "4000::1"}) {
    EXPECT_FALSE(IsPublic(address)) << address;
  }
}

HostPolicy PolicyOf(const std::string& endpoint, std::vector<std::string> hosts) {
  absl::StatusOr<HostPolicy> policy = HostPolicy::Create(endpoint, std::move(hosts));
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

TEST(HostPolicy, TheDefaultIsTheHubsOwnHosts) {
  const HostPolicy policy = PolicyOf("https://huggingface.co", DefaultRedirectHosts());
  for (const char* url :
       {"https://huggingface.co/x", "https://HUGGINGFACE.co:443/x", "https://hf.co/",
        "https://cdn-lfs.huggingface.co/x?y=z", "https://cdn-lfs-us-1.huggingface.co/",
        "https://us.gcp.cdn.hf.co/", "https://cas-bridge.xethub.hf.co/", "https://hf.co:8443/"}) {
    EXPECT_TRUE(policy.CheckRedirect(url).ok()) << url;
    EXPECT_EQ(policy.MayBePrivate(*OriginOf(url)),
              *OriginOf(url) == *OriginOf("https://huggingface.co"));
  }
  for (const char* url :
       {"http://huggingface.co/x", "https://huggingface.co.evil.org/", "https://evilhf.co/",
        "https://hf.co.evil/", "https://evil.org/hf.co", "https://evil.org?.hf.co",
        "https://evil.org#.hf.co", "https://hf.co@evil.org/", "https://user:x@hf.co/",
        "https://spaces.huggingface.co/", "https://evil.org\\.hf.co/", "ftp://hf.co/",
        "file:///hf.co", "//hf.co", "", "https://", "https://127.0.0.1/", "https://[::1]/"}) {
    EXPECT_EQ(policy.CheckRedirect(url).code(), absl::StatusCode::kPermissionDenied) << url;
  }
}

TEST(HostPolicy, WhoIsNamedInFullMayBePrivate) {
  const HostPolicy policy =
      PolicyOf("http://hub.local:8080/mirror", {"files.local", "*.cdn.local"});
  for (const char* url :
       {"http://hub.local:8080/", "http://files.local/", "http://files.local:9/"}) {
    EXPECT_TRUE(policy.CheckRedirect(url).ok()) << url;
    EXPECT_TRUE(policy.MayBePrivate(*OriginOf(url))) << url;
  }
  EXPECT_TRUE(policy.CheckRedirect("https://a.cdn.local/").ok());
  EXPECT_FALSE(policy.MayBePrivate(*OriginOf("https://a.cdn.local/")));
  EXPECT_FALSE(policy.CheckRedirect("http://hub.local:22/").ok());
  EXPECT_TRUE(policy.IsHub(*OriginOf("http://HUB.local:8080/x")));
  for (const char* url :
       {"https://hub.local:8080/", "http://hub.local/", "http://files.local:8080/"}) {
    EXPECT_FALSE(policy.IsHub(*OriginOf(url))) << url;
  }
}

TEST(HostPolicy, WhatCannotBeOneIsNamed) {
  EXPECT_THAT(std::string(HostPolicy::Create("huggingface", {}).status().message()),
              HasSubstr("HF_ENDPOINT"));
  for (const char* host : {"", "https://x", "a b", "x/y", "user@x"}) {
    const absl::Status status = HostPolicy::Create("https://x", {host}).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("--redirect-hosts")) << host;
  }
}

// --- hashes and headers -------------------------------------------------------------------------

ContentHash HashOf(size_t digits, const std::string& content) {
  ContentHasher hasher({std::string(digits, '0')}, static_cast<int64_t>(content.size()));
  for (const char byte : content) hasher.Update({&byte, 1});
  return hasher.Finish();
}

TEST(ContentHash, AsGitAndSha256sumSay) {
  // git hash-object, sha256sum
  EXPECT_EQ(HashOf(40, "hello\n").hex, "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(HashOf(40, "").hex, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(HashOf(64, "hello\n").hex,
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

TEST(ContentHash, InAnEtag) {
  const std::string sha1(40, 'a'), sha256(64, '0');
  for (const std::string& hash : {sha1, sha256}) {
    for (const std::string& etag : {hash, "\"" + hash + "\"", "W/\"" + hash + "\""}) {
      ASSERT_TRUE(ContentHashFromEtag(etag).has_value()) << etag;
      EXPECT_EQ(ContentHashFromEtag(etag)->hex, hash);
    }
  }
  for (const std::string& etag :
       {std::string(), std::string("\""), std::string("\"\""), sha1 + "a", std::string(40, 'A'),
        std::string(32, 'a'), "../" + std::string(37, 'a'), "\"" + sha1, sha1 + "-gzip"}) {
    EXPECT_FALSE(ContentHashFromEtag(etag).has_value()) << etag;
  }
}

TEST(HubAnswers, ContentRange) {
  const auto range = ParseContentRange("bytes 5-9/10");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->first, 5);
  EXPECT_EQ(range->last, 9);
  EXPECT_EQ(range->size, 10);
  for (const char* bad : {"", "bytes 5-9", "bytes 5-9/*", "bytes */10", "bytes 9-5/10",
                          "bytes 5-10/10", "octets 5-9/10", "bytes -5-9/10", "bytes 5/9-10",
                          "bytes 5-9/10x", "bytes 99999999999999999999-9/10"}) {
    EXPECT_FALSE(ParseContentRange(bad).has_value()) << bad;
  }
}

TEST(HubAnswers, RetryAfter) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000'000);  // Sun, 09 Sep 2001 01:46:40 GMT
  const auto wait = [&](const std::string& name, const std::string& value) {
    return RetryAfterIn({.code = 429, .headers = {{name, value}}}, now);
  };
  EXPECT_EQ(wait("retry-after", "120"), absl::Seconds(120));
  EXPECT_EQ(wait("retry-after", "0"), absl::ZeroDuration());
  EXPECT_EQ(wait("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT"), absl::Seconds(60));
  EXPECT_EQ(wait("retry-after", "Sun, 09 Sep 2001 01:45:40 GMT"), absl::ZeroDuration());
  EXPECT_EQ(wait("ratelimit", "\"api\";r=0;t=55"), absl::Seconds(55));
  EXPECT_EQ(wait("ratelimit", "\"api\"; t=7; r=0"), absl::Seconds(7));
  for (const char* bad : {"", "-1", "1.5", "soon", "99999999999999999999"}) {
    EXPECT_EQ(wait("retry-after", bad), std::nullopt) << bad;
  }
  for (const char* bad : {"", "api", "\"api\";r=0", ";t=", ";t=x"}) {
    EXPECT_EQ(wait("ratelimit", bad), std::nullopt) << bad;
  }
}

TEST(HubAnswers, WordsOfTheHubAreHarmless) {
  const HttpAnswer answer = {.origin = {"https", "hub", 443},
                             .code = 418,
                             .headers = {{"x-error-message", "\033[2J" + std::string(5000, 'x')}}};
  const std::string message(StatusOfAnswer(answer, "a file").message());
  EXPECT_THAT(message, HasSubstr("a file: https://hub answers 418: ?[2Jxxx"));
  EXPECT_LT(message.size(), 300);
}

// --- names, settings, the cache -----------------------------------------------------------------

TEST(ModelId, ByTheHubsRules) {
  EXPECT_EQ(ParseModelId("Qwen/Qwen3-4B-Instruct-2507")->Text(), "Qwen/Qwen3-4B-Instruct-2507");
  EXPECT_TRUE(ParseModelId("a/b_c.d").ok());
  for (const std::string& bad :
       {std::string(), std::string("gpt2"), std::string("/x"), std::string("x/"),
        std::string("a/b/c"), std::string("../x"), std::string("x/.."), std::string("a--b/c"),
        std::string("a/b..c"), std::string("-a/b"), std::string("a/b-"), std::string("a/.b"),
        std::string("a/b.git"), std::string("a b/c"), std::string("a/b?c"),
        "a/" + std::string(97, 'x')}) {
    EXPECT_FALSE(ParseModelId(bad).ok()) << bad;
  }
  for (const char* good :
       {"main", "v1.0", "refs/pr/1", "0123456789012345678901234567890123456789"}) {
    EXPECT_TRUE(CheckRevision(good).ok()) << good;
  }
  for (const char* bad : {"", "/x", "x/", "a//b", "..", "a/../b", "./a", "a b", "a\nb", "a\\b"}) {
    EXPECT_FALSE(CheckRevision(bad).ok()) << bad;
  }
}

// With these variables in place of all that a hub's settings are read from.
class Settings : public ::testing::Test {
 protected:
  Settings() {
    for (const char* name :
         {"HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_CACHE",
          "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
      unsetenv(name);
    }
    setenv("HOME", home_.path().c_str(), 1);
  }
  static void Set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }
  std::string Home(const std::string& path) const { return home_.path() / path; }

  const TemporaryDirectory home_;
};

TEST_F(Settings, Defaults) {
  const auto settings = HubSettingsFromEnvironment();
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->endpoint, "https://huggingface.co");
  EXPECT_EQ(settings->token, "");
  EXPECT_FALSE(settings->offline);
  EXPECT_EQ(settings->cache, Home(".cache/huggingface/hub"));
}

TEST_F(Settings, TheCacheIsWhereThePythonLibraryHasIt) {
  Set("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(HubCacheFromEnvironment(), "/xdg/huggingface/hub");
  Set("HF_HOME", "~/hf");
  EXPECT_EQ(HubCacheFromEnvironment(), Home("hf/hub"));
  Set("HUGGINGFACE_HUB_CACHE", "/old");
  EXPECT_EQ(HubCacheFromEnvironment(), "/old");
  Set("HF_HUB_CACHE", "/hub");
  EXPECT_EQ(HubCacheFromEnvironment(), "/hub");
  Set("HF_HUB_CACHE", "");
  EXPECT_EQ(HubCacheFromEnvironment(), "/old");
}

TEST_F(Settings, TokensEndpointsOffline) {
  Set("HF_ENDPOINT", "http://hub.local/mirror//");
  Set("HF_HOME", "~/hf");
  fs::create_directories(Home("hf"));
  std::ofstream(Home("hf/token")) << "hf_file\n";
  for (const char* yes : {"1", "on", "True", "YES"}) {
    Set("HF_HUB_OFFLINE", yes);
    EXPECT_TRUE(HubSettingsFromEnvironment()->offline) << yes;
  }
  Set("HF_HUB_OFFLINE", "0");
  EXPECT_FALSE(HubSettingsFromEnvironment()->offline);
  EXPECT_EQ(HubSettingsFromEnvironment()->endpoint, "http://hub.local/mirror");
  EXPECT_EQ(HubSettingsFromEnvironment()->token, "hf_file");
  Set("HF_TOKEN", " hf_variable ");
  EXPECT_EQ(HubSettingsFromEnvironment()->token, "hf_variable");
  Set("HF_TOKEN", "hf_secret\r\nX-Injected: 1");
  const absl::Status status = HubSettingsFromEnvironment().status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("HF_TOKEN"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
}

TEST_F(Settings, ModelsAreFoundByFolderAndByName) {
  const HubCache cache(HubCacheFromEnvironment());
  const ModelId id = *ParseModelId("Acme/Small");
  const std::string commit(40, 'c');
  const auto find = [](const std::string& model, ModelUse use) { return FindModel(model, use); };

  absl::Status missing = find("Acme/Small", ModelUse::kGenerate).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("`kvasir pull Acme/Small` fetches it"));
  EXPECT_THAT(std::string(missing.message()), HasSubstr(cache.root().string()));
  missing = find("Acme/Small@v2", ModelUse::kGenerate).status();
  EXPECT_THAT(std::string(missing.message()), HasSubstr("`kvasir pull Acme/Small --revision=v2`"));
  EXPECT_FALSE(find("Acme/Small@../x", ModelUse::kGenerate).ok());

  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "config.json"}) {
    const FilePlace place = cache.PlaceOf(id, absl::StrCat("of-", file));
    fs::create_directories(place.destination.parent_path());
    std::ofstream(place.destination) << "{}";
    ASSERT_TRUE(cache.Link(id, commit, file, absl::StrCat("of-", file)).ok());
  }
  ASSERT_TRUE(cache.WriteRef(id, "main", commit).ok());
  const auto found = find("Acme/Small", ModelUse::kTokenize);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->path, cache.SnapshotPath(id, commit));
  EXPECT_EQ(found->name, "Acme/Small");
  EXPECT_EQ(find("Acme/Small@" + commit, ModelUse::kTokenize)->path, found->path);
  // A tokenizer alone, as another program may have fetched it.
  missing = find("Acme/Small", ModelUse::kGenerate).status();
  EXPECT_THAT(std::string(missing.message()), HasSubstr("lacks model.safetensors; `kvasir pull"));

  // A folder is one, whatever it is called; one of the cache has its model's name.
  EXPECT_EQ(find(found->path.string(), ModelUse::kGenerate)->name, "Acme/Small");
  EXPECT_EQ(find(home_.path().string() + "/", ModelUse::kGenerate)->name, "");
  EXPECT_EQ(find("/no/such/folder", ModelUse::kGenerate)->path, "/no/such/folder");
}

TEST_F(Settings, ARefThatIsNoneMeansNothing) {
  const HubCache cache(HubCacheFromEnvironment());
  const ModelId id = *ParseModelId("Acme/Small");
  EXPECT_EQ(cache.FindCommit(id, "main"), std::nullopt);
  ASSERT_TRUE(cache.WriteRef(id, "main", "../../../etc").ok());
  EXPECT_EQ(cache.FindCommit(id, "main"), std::nullopt);
  ASSERT_TRUE(cache.WriteRef(id, "main", std::string(40, 'a')).ok());
  EXPECT_EQ(cache.FindCommit(id, "main"), std::nullopt) << "without a snapshot";
}

}  // namespace
}  // namespace kvasir::hub

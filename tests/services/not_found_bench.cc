// How long a call about another tenant's session takes, beside one about a session that nobody has:
// whoever measures should not learn which ids others use.
//
//   not_found_bench [--pairs=N]
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "services/auth/authenticator.h"
#include "services/cli/connection.h"
#include "tests/engine/journal/redis_server.h"
#include "tests/engine/temporary_directory.h"
#include "tests/services/model_server.h"

namespace kvasir {
namespace {

using testing::ModelServer;

constexpr int kSessions = 500;

std::string IdOf(int number, bool exists) {
  char id[32];
  std::snprintf(id, sizeof id, "%s-%06d", exists ? "hers" : "none", number);
  return id;
}

double Microseconds(const std::function<grpc::Status()>& call) {
  const auto begun = std::chrono::steady_clock::now();
  const grpc::Status status = call();
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begun;
  if (status.error_code() != grpc::StatusCode::NOT_FOUND) std::abort();
  return took.count();
}

struct Method {
  const char* name;
  std::function<grpc::Status(v1::ModelService::Stub&, const std::string& id)> call;
};

const Method kMethods[] = {
    {"GetSession",
     [](v1::ModelService::Stub& stub, const std::string& id) {
       v1::Session session;
       return testing::Get(stub, id, session);
     }},
    {"Generate",
     [](v1::ModelService::Stub& stub, const std::string& id) {
       return testing::Generate(stub, testing::AskFor(id, {1, 2}, 1)).status;
     }},
    {"DeleteSession",
     [](v1::ModelService::Stub& stub, const std::string& id) { return testing::Delete(stub, id); }},
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Pairs of calls, in random order within each, so that what drifts hits both alike. The bounds of
// the differences' median are the order statistics that it lies between with 99 %.
void Compare(const char* store, const Method& method, v1::ModelService::Stub& bob, int pairs) {
  std::mt19937 random(1);
  std::vector<double> times[2], differences;
  for (int i = 0; i < pairs; ++i) {
    double took[2] = {};
    const int number = static_cast<int>(random() % kSessions);
    const bool first = random() % 2 == 0;
    for (const bool exists : {first, !first}) {
      took[exists] = Microseconds([&] { return method.call(bob, IdOf(number, exists)); });
      times[exists].push_back(took[exists]);
    }
    differences.push_back(took[1] - took[0]);
  }
  std::sort(differences.begin(), differences.end());
  const double reach = 2.576 / 2 * std::sqrt(pairs);
  const auto at = [&](double place) {
    return differences[std::clamp(static_cast<int>(place), 0, pairs - 1)];
  };
  std::printf("| %s | %s | %.1f | %.1f | %+.2f | %+.2f to %+.2f |\n", store, method.name,
              Median(times[1]), Median(times[0]), at(pairs / 2.0), at(pairs / 2.0 - reach),
              at(pairs / 2.0 + reach));
}

void CompareWith(const char* name, std::shared_ptr<SessionStore> store, int pairs) {
  const testing::TemporaryDirectory folder;
  const std::string keys = (folder.path() / "keys").string();
  std::ofstream(keys) << "anna the-secret-of-anna\nbob the-secret-of-bob-x\n";
  const auto authenticator = *Authenticator::Open({.api_keys = keys, .tell = nullptr});
  EngineOptions options = testing::TinyOptions();
  options.session_store = std::move(store);
  ModelServer server(options, RequestGuards{.authenticator = authenticator.get()});
  const auto connect = [&](const char* key) {
    cli::ConnectionFlags flags;
    flags.model_server = server.address();
    flags.api_key = key;
    return std::make_unique<cli::Connection>(flags);
  };
  const auto anna = connect("the-secret-of-anna"), bob = connect("the-secret-of-bob-x");
  for (int i = 0; i < kSessions; ++i) {
    testing::CreateWith(anna->model(), IdOf(i, true), testing::SomeIds(200, i));
  }
  for (const Method& method : kMethods) Compare(name, method, bob->model(), pairs);
}

int Main(int argc, char** argv) {
  CLI::App app("Times of NOT_FOUND: another tenant's session, and one that nobody has");
  int pairs = 5000;
  app.add_option("--pairs", pairs, "Of calls, for each line")->check(CLI::Range(100, 1'000'000));
  CLI11_PARSE(app, argc, argv);
  std::puts("| store | call | another's, µs | nobody's, µs | difference, µs | with 99 % |");
  std::puts("|---|---|---|---|---|---|");
  CompareWith("memory", nullptr, pairs);
  const testing::TemporaryDirectory folder;
  CompareWith("SQLite", *OpenSqliteStore((folder.path() / "sessions.db").string()), pairs);
  const testing::RedisServer redis;
  CompareWith("Redis", *OpenRedisStore(redis.url(), "replica1"), pairs);
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) { return kvasir::Main(argc, argv); }

#include "tests/simt/schedule.h"

#include <cstdlib>
#include <cstring>
#include <iterator>

namespace simt {
namespace {

constexpr const char* kNames[] = {"in-order", "reversed", "random", "priority"};

Schedule FromEnvironment() {
  Schedule schedule;
  const char* const order = std::getenv("SIMT_ORDER");
  const char* const seed = std::getenv("SIMT_SEED");
  for (int i = 0; order != nullptr && i < int(std::size(kNames)); ++i) {
    if (std::strcmp(order, kNames[i]) == 0) schedule.order = static_cast<Order>(i);
  }
  if (seed != nullptr) schedule.seed = std::strtoull(seed, nullptr, 0);
  return schedule;
}

struct State {
  explicit State(const Schedule& schedule) : schedule(schedule), random(schedule.seed) {}
  Schedule schedule;
  Random random;
};
State& TheState() {
  static State state(FromEnvironment());
  return state;
}

}  // namespace

void SetSchedule(const Schedule& schedule) { TheState() = State(schedule); }

const Schedule& CurrentSchedule() { return TheState().schedule; }

Random& ScheduleRandom() { return TheState().random; }

std::string ScheduleName() {
  const Schedule& schedule = CurrentSchedule();
  return std::string("SIMT_ORDER=") + kNames[static_cast<int>(schedule.order)] +
         " SIMT_SEED=" + std::to_string(schedule.seed);
}

}  // namespace simt

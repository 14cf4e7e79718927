#include "tests/engine/backend/cuda/device_testing.h"

#if defined(KVASIR_SIMT)
#include <simt.h>
#endif

namespace kvasir::cuda {

void ForEachSchedule(const std::function<void()>& body) {
#if defined(KVASIR_SIMT)
  using simt::Order;
  constexpr struct {
    simt::Schedule schedule;
    const char* name;
  } kSchedules[] = {{{Order::kInOrder, 0}, "in order"},    {{Order::kReversed, 0}, "reversed"},
                    {{Order::kRandom, 1}, "random 1"},     {{Order::kRandom, 2}, "random 2"},
                    {{Order::kPriority, 1}, "priority 1"}, {{Order::kPriority, 2}, "priority 2"}};
  for (const auto& [schedule, name] : kSchedules) {
    SCOPED_TRACE(name);
    simt::SetSchedule(schedule);
    body();
    for (const std::string& race : simt::TakeRaces()) ADD_FAILURE() << race;
  }
  simt::SetSchedule({});
#else
  body();
#endif
}

}  // namespace kvasir::cuda

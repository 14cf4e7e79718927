// The order of turns, and the randomness it draws from.
#ifndef KVASIR_TESTS_SIMT_SCHEDULE_H_
#define KVASIR_TESTS_SIMT_SCHEDULE_H_

#include <cstdint>
#include <string>

#include "tests/simt/include/simt.h"

namespace simt {

// SplitMix64 (Steele et al. 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  unsigned Below(unsigned bound) { return static_cast<unsigned>((Next() >> 32) * bound >> 32); }
  bool OneIn(unsigned n) { return Below(n) == 0; }

 private:
  uint64_t state_;
};

const Schedule& CurrentSchedule();
inline bool IsRandom(Order order) { return order == Order::kRandom || order == Order::kPriority; }
// What the schedule's seed began. For the host's choices: blocks, streams.
Random& ScheduleRandom();
// "SIMT_ORDER=random SIMT_SEED=3", as an environment that brings it back.
std::string ScheduleName();

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_SCHEDULE_H_

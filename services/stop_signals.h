#ifndef KVASIR_SERVICES_STOP_SIGNALS_H_
#define KVASIR_SERVICES_STOP_SIGNALS_H_

#include "absl/time/time.h"

namespace kvasir {

// SIGINT and SIGTERM as something to wait for. Before Arm they end the process at once (also where
// it is a container's first process, which the kernel spares). One object at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // From now on signals are for Wait.
  void Arm();

  enum class Event { kSignal, kNotified, kTimeout };
  // What comes first: a signal, a Notify, or the end of `timeout`. Each is reported once.
  Event Wait(absl::Duration timeout);

  // Ends a Wait. Thread-safe.
  void Notify();
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_STOP_SIGNALS_H_

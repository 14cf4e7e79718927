#ifndef KVASIR_TESTS_ENGINE_BACKEND_GRAPH_SWITCH_H_
#define KVASIR_TESTS_ENGINE_BACKEND_GRAPH_SWITCH_H_

#include "tests/engine/backend/forwarding_backend.h"

namespace kvasir {

// With graphs a whole step is one call, and what has been recorded can be launched again; without
// them it is verb after verb.
class GraphSwitch : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  void Run(const Batch& batch, Forward forward) override {
    if (graphs_) {
      inner().Run(batch, forward);
    } else {
      forward(inner().Stage(batch));
    }
  }
  void set_graphs(bool graphs) { graphs_ = graphs; }

 private:
  bool graphs_ = true;
};

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_BACKEND_GRAPH_SWITCH_H_

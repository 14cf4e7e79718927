#ifndef KVASIR_TOKENIZER_JINJA_COST_H_
#define KVASIR_TOKENIZER_JINJA_COST_H_

#include <cstdint>
#include <string_view>

#include "tokenizer/jinja/arguments.h"
#include "tokenizer/jinja/tree.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

// The steps (see limits.h) that an operation takes: near to the work it does, so that a template
// that is quick on few messages is quick on many.

int64_t CostOfBinary(Binary::Operator op, const Value& left, const Value& right);
int64_t CostOfComparison(Comparison::Operator op, const Value& left, const Value& right);
int64_t CostOfItem(const Value& object);
int64_t CostOfSlice(const Value& object);
int64_t CostOfCall(const Function& function, const ArgumentValues& arguments);
int64_t CostOfFilter(std::string_view name, const Value& operand, const ArgumentValues& arguments);
int64_t CostOfTest(const Value& operand, const ArgumentValues& arguments);
// Of what an operation made anew.
int64_t CostOfResult(const Value& result);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_COST_H_

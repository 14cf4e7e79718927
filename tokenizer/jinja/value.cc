#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <utility>

#include "tokenizer/jinja/limits.h"

namespace kvasir::jinja {

Value::Value(List list) : data_(std::make_shared<const List>(std::move(list))) {}
Value::Value(Dict dict) : data_(std::make_shared<const Dict>(std::move(dict))) {}
Value::Value(Function function) : data_(std::make_shared<const Function>(std::move(function))) {}

Value Value::UndefinedBecause(std::string why) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(why))};
  return value;
}

Namespace* Value::space() const {
  Namespace* const* space = std::get_if<Namespace*>(&data_);
  return space == nullptr ? nullptr : *space;
}

std::shared_ptr<const Text> Value::shared_text() const {
  const auto* pointer = std::get_if<std::shared_ptr<const Text>>(&data_);
  return pointer == nullptr ? nullptr : *pointer;
}

int64_t Value::integer() const {
  if (const bool* truth = std::get_if<bool>(&data_)) return *truth ? 1 : 0;
  return std::get<int64_t>(data_);
}

double Value::real() const {
  if (const double* value = std::get_if<double>(&data_)) return *value;
  return static_cast<double>(integer());
}

std::string Value::why() const {
  const Undefined* undefined = std::get_if<Undefined>(&data_);
  if (undefined == nullptr || undefined->why == nullptr) return "the value is undefined";
  return *undefined->why;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return real() != 0;
  if (const Text* value = text()) return !value->empty();
  if (const List* value = list()) return value->size() > 0 || value->is_iterator();
  if (const Dict* value = dict()) return value->size() > 0;
  return true;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "none";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (text() != nullptr) return "str";
  if (list() != nullptr) {
    static constexpr std::string_view kNames[] = {"list", "tuple", "view", "generator"};
    return kNames[static_cast<int>(list()->kind())];
  }
  if (dict() != nullptr) return "dict";
  if (space() != nullptr) return "namespace";
  if (loop() != nullptr) return "loop";
  return "function";
}

int64_t Value::weight() const {
  if (const Text* value = text()) return 1 + static_cast<int64_t>(value->size() / 64);
  if (const List* value = list()) return value->weight();
  if (const Dict* value = dict()) return value->weight();
  if (const Loop* value = loop()) return value->items.weight();
  return 1;
}

int Value::depth() const {
  if (const List* value = list()) return value->depth();
  if (const Dict* value = dict()) return value->depth();
  if (const Loop* value = loop()) return value->items.depth() + 1;
  if (const Function* value = function()) return value->receiver.depth() + 1;
  return 0;
}

namespace {

// Stops far above every limit, and far below overflow.
int64_t AddWeight(int64_t a, int64_t b) { return std::min(a + b, 4 * kMaxSteps); }

}  // namespace

List::List(std::vector<Value> items, Kind kind)
    : items_(std::move(items)),
      kind_(kind),
      taken_(kind == Kind::kIterator ? std::make_shared<bool>(false) : nullptr) {
  for (const Value& item : items_) {
    weight_ = AddWeight(weight_, item.weight());
    depth_ = std::max(depth_, item.depth() + 1);
  }
}

std::vector<Value> List::Take() const {
  if (taken_ != nullptr && std::exchange(*taken_, true)) return {};
  return items_;
}

void Dict::Set(std::shared_ptr<const Text> key, Value value) {
  weight_ = AddWeight(weight_, value.weight() + 1);
  depth_ = std::max(depth_, value.depth() + 1);
  const auto [at, is_new] = index_.try_emplace(key->bytes(), entries_.size());
  if (is_new) {
    entries_.push_back({std::move(key), std::move(value)});
  } else {
    entries_[at->second].value = std::move(value);
  }
}

const Value* Dict::Find(std::string_view key) const {
  const auto at = index_.find(key);
  return at == index_.end() ? nullptr : &entries_[at->second].value;
}

const Value* Namespace::Find(std::string_view name) const {
  for (const auto& [key, value] : attributes_) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Namespace::Set(std::string_view name, Value value) {
  for (auto& [key, old] : attributes_) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  attributes_.emplace_back(name, std::move(value));
}

Value Loop::Attribute(std::string_view name) const {
  const auto number = [](size_t value) { return Value(static_cast<int64_t>(value)); };
  if (name == "index") return number(index + 1);
  if (name == "index0") return number(index);
  if (name == "revindex") return number(items.size() - index);
  if (name == "revindex0") return number(items.size() - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == items.size());
  if (name == "length") return number(items.size());
  if (name == "depth") return number(1);  // Of recursion, which there is none of.
  if (name == "depth0") return number(0);
  if (name == "previtem") {
    return index > 0 ? items.items()[index - 1]
                     : Value::UndefinedBecause("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < items.size() ? items.items()[index + 1]
                                    : Value::UndefinedBecause("there is no next item");
  }
  return Value::UndefinedBecause("'loop' has no attribute '" + std::string(name) + "'");
}

}  // namespace kvasir::jinja

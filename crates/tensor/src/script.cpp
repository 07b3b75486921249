// Whether a TorchScript file trains: what libtorch knows of a module and tch does not say.

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>

namespace {

// The first operator whose flag for training is set for good, as tracing a module in training mode leaves it.
std::string training_operator(const torch::jit::Block *block) {
  for (const torch::jit::Node *node : block->nodes()) {
    if (const auto *schema = node->maybeSchema()) {
      for (const char *name : {"train", "training"}) {
        const auto index = schema->argumentIndexWithName(name);
        if (!index || static_cast<size_t>(*index) >= node->inputs().size()) {
          continue;
        }
        const auto flag = torch::jit::toIValue(node->input(static_cast<size_t>(*index)));
        if (flag && flag->isBool() && flag->toBool()) {
          return node->kind().toQualString();
        }
      }
    }
    for (const torch::jit::Block *inner : node->blocks()) {
      std::string found = training_operator(inner);
      if (!found.empty()) {
        return found;
      }
    }
  }
  return "";
}

std::string training_part(const torch::jit::Module &module) {
  for (const auto &part : module.named_modules()) {
    if (part.value.hasattr("training") && part.value.is_training()) {
      return "module `" + (part.name.empty() ? "the whole" : part.name) + "`";
    }
  }
  if (const auto forward = module.find_method("forward")) {
    auto graph = forward->graph()->copy();
    torch::jit::Inline(*graph);
    const std::string found = training_operator(graph->block());
    if (!found.empty()) {
      return "operator `" + found + "`, recorded with training on";
    }
  }
  return "";
}

void copy(const std::string &text, char *to, size_t capacity) {
  const size_t length = std::min(text.size(), capacity - 1);
  std::memcpy(to, text.data(), length);
  to[length] = 0;
}

} // namespace

extern "C" {

// Writes to `text`, ended by 0, which part of a TorchScript file trains, or nothing; false and a message if libtorch
// threw.
bool softlabel_script_training(const uint8_t *bytes, size_t length, char *text, size_t capacity) noexcept {
  try {
    std::istringstream stream(std::string(reinterpret_cast<const char *>(bytes), length));
    copy(training_part(torch::jit::load(stream, c10::kCPU)), text, capacity);
    return true;
  } catch (const std::exception &error) {
    copy(error.what(), text, capacity);
  } catch (...) {
    copy("an unknown error", text, capacity);
  }
  return false;
}
}

// An autograd node whose backward is a callback into Rust.
//
// libtorch's engine runs a `torch::autograd::Node`; tch has no way to make one. `RustNode` is one: it holds the
// saved tensors, a pointer to a Rust closure, the function that calls the closure and the function that drops it.
//
// No exception leaves an entry point: it returns the message, as a string that `softlabel_message_free` frees.
// No panic leaves a callback: Rust catches it and leaves a message, which is raised here.
//
// Up to libtorch 2.11 nodes are held by `std::shared_ptr`, in 2.13 by `c10::intrusive_ptr`; `Pointer` is whichever
// it is.

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using Pointer = decltype(std::declval<Node &>().getptr());

// What a backward callback is given; `Call` in call.rs is the same.
struct Call {
  // Owned by the callback, null where undefined.
  at::Tensor *const *gradients;
  size_t gradient_count;
  // Owned by the callback.
  at::Tensor *const *saved;
  size_t saved_count;
  // One byte an input.
  const uint8_t *needs;
  // One an input, filled by the callback, owned by the node.
  at::Tensor **results;
  size_t input_count;
  uint8_t keeps_graph;
  uint8_t creates_graph;
  // For `softlabel_call_fail`.
  std::string *message;
};

enum Status : int { Done = 0, Failed = 1, Panicked = 2 };

using Backward = int (*)(void *closure, const Call *call);
using Drop = void (*)(void *closure);

// What a gradient has to look like: as its input.
struct Expected {
  std::vector<int64_t> sizes;
  at::ScalarType kind;
  at::Device device;
};

std::string describe(at::IntArrayRef sizes, at::ScalarType kind, at::Device device) {
  std::ostringstream text;
  text << c10::toString(kind) << " " << sizes << " on " << device;
  return text.str();
}

struct RustNode : Node {
  std::string title;
  std::vector<Expected> inputs;
  // Which tensors the inputs are, for comparison alone: the node does not keep them.
  std::vector<const void *> identities;
  std::vector<SavedVariable> saved;
  bool differentiable_backward = false;
  void *closure = nullptr;
  Backward backward = nullptr;
  Drop drop = nullptr;
  std::atomic<std::thread::id> runs_on{};

  ~RustNode() override { forget(); }

  std::string name() const override { return title; }

  void release_variables() override {
    std::vector<SavedVariable> old;
    void *old_closure = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      old.swap(saved);
      old_closure = std::exchange(closure, nullptr);
    }
    if (old_closure != nullptr) {
      drop(old_closure);
    }
  }

  variable_list apply(variable_list &&gradients) override {
    if (runs_on.load() == std::this_thread::get_id()) {
      throw std::runtime_error(title + ": its backward runs a backward through itself");
    }
    std::lock_guard<std::mutex> lock(mutex_);
    if (closure == nullptr) {
      throw std::runtime_error(title +
                               ": backward through the graph a second time, but what was saved for it has been "
                               "freed; keep the graph in the first backward");
    }
    const bool creates_graph = c10::GradMode::is_enabled();
    if (creates_graph && !differentiable_backward) {
      throw std::runtime_error(title + ": its backward is not differentiable (create_graph asks for it)");
    }

    std::vector<std::unique_ptr<at::Tensor>> given;
    for (auto &gradient : gradients) {
      given.push_back(gradient.defined() ? std::make_unique<at::Tensor>(std::move(gradient)) : nullptr);
    }
    gradients.clear();
    std::vector<std::unique_ptr<at::Tensor>> unpacked;
    for (const auto &variable : saved) {
      unpacked.push_back(std::make_unique<at::Tensor>(variable.unpack(getptr())));
    }
    std::vector<uint8_t> needs;
    for (size_t index = 0; index < inputs.size(); ++index) {
      needs.push_back(task_should_compute_output(index));
    }
    std::vector<at::Tensor *> lent_gradients, lent_saved, results(inputs.size(), nullptr);
    lent_gradients.reserve(given.size());
    lent_saved.reserve(unpacked.size());
    std::string message;
    for (auto &gradient : given) {
      lent_gradients.push_back(gradient.release());
    }
    for (auto &variable : unpacked) {
      lent_saved.push_back(variable.release());
    }
    const Call call{lent_gradients.data(),
                    lent_gradients.size(),
                    lent_saved.data(),
                    lent_saved.size(),
                    needs.data(),
                    results.data(),
                    results.size(),
                    torch::autograd::get_current_graph_task_keep_graph(),
                    creates_graph,
                    &message};
    runs_on.store(std::this_thread::get_id());
    const int status = backward(closure, &call);
    runs_on.store(std::thread::id());

    variable_list output(inputs.size());
    for (size_t index = 0; index < results.size(); ++index) {
      std::unique_ptr<at::Tensor> result(results[index]);
      if (result != nullptr && needs[index]) {
        output[index] = std::move(*result);
      }
    }
    if (status != Done) {
      throw std::runtime_error(title + (status == Failed ? ": backward failed: " : ": backward panicked: ") + message);
    }
    for (size_t index = 0; index < output.size(); ++index) {
      check(index, output[index]);
    }
    return output;
  }

private:
  // The engine would sum over what broadcasts and convert the dtype; a backward that leaves it to do so is a mistake.
  void check(size_t index, const at::Tensor &gradient) const {
    if (!gradient.defined()) {
      return;
    }
    const auto &expected = inputs[index];
    if (gradient.sizes() == at::IntArrayRef(expected.sizes) && gradient.scalar_type() == expected.kind &&
        gradient.device() == expected.device) {
      return;
    }
    throw std::runtime_error(title + ": the gradient of input " + std::to_string(index) + " has to be " +
                             describe(expected.sizes, expected.kind, expected.device) + ", found " +
                             describe(gradient.sizes(), gradient.scalar_type(), gradient.device()));
  }

  void forget() {
    if (closure != nullptr) {
      drop(std::exchange(closure, nullptr));
    }
  }
};

// Dependent on the type, so that only the one that fits the libtorch at hand is compiled.
template <class P> P hold_new() {
  if constexpr (std::is_same_v<P, std::shared_ptr<Node>>) {
    // libtorch's deleter takes long chains apart without recursion.
    return P(new RustNode(), [](auto *node) { deleteNode(node); });
  } else {
    using Intrusive = std::conditional_t<std::is_same_v<P, void>, void, RustNode>;
    return c10::make_intrusive<Intrusive>();
  }
}

char *copy(const char *text) noexcept {
  char *result = static_cast<char *>(std::malloc(std::strlen(text) + 1));
  return result == nullptr ? nullptr : std::strcpy(result, text);
}

template <class F> char *guarded(F &&function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const c10::Error &error) {
    return copy(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return copy(error.what());
  } catch (...) {
    return copy("an exception that is no std::exception");
  }
}

} // namespace

extern "C" {

// A tensor that is saved: by itself, or as the number of an output.
struct SoftlabelSaved {
  const at::Tensor *tensor;
  size_t output;
};

void softlabel_message_free(char *message) noexcept { std::free(message); }

void softlabel_call_fail(std::string *message, const char *text, size_t length) noexcept {
  try {
    message->assign(text, length);
  } catch (...) {
  }
}

// Makes a node if grad mode is on and an input requires grad, and leaves null otherwise.
// `needs` gets one byte an input.
char *softlabel_node_new(const char *title, size_t length, const at::Tensor *const *inputs, size_t count,
                         uint8_t *needs, Pointer **node) noexcept {
  return guarded([&] {
    *node = nullptr;
    bool records = false;
    for (size_t index = 0; index < count; ++index) {
      needs[index] = c10::GradMode::is_enabled() && inputs[index]->defined() && inputs[index]->requires_grad();
      records = records || needs[index];
    }
    if (!records) {
      return;
    }
    auto made = hold_new<Pointer>();
    auto &rust = static_cast<RustNode &>(*made);
    rust.title.assign(title, length);
    torch::autograd::edge_list edges;
    for (size_t index = 0; index < count; ++index) {
      const auto &input = *inputs[index];
      rust.identities.push_back(input.unsafeGetTensorImpl());
      if (!needs[index]) {
        edges.emplace_back();
        rust.inputs.push_back({{}, at::kFloat, at::kCPU});
        continue;
      }
      edges.push_back(torch::autograd::impl::gradient_edge(input));
      rust.inputs.push_back({input.sizes().vec(), input.scalar_type(), input.device()});
    }
    rust.set_next_edges(std::move(edges));
    *node = new Pointer(std::move(made));
  });
}

void softlabel_node_free(Pointer *node) noexcept {
  guarded([&] { delete node; });
}

// Makes the outputs results of the node. The closure is the node's if there is no error, else the caller's.
char *softlabel_node_attach(Pointer *node, at::Tensor *const *outputs, const uint8_t *differentiable, size_t count,
                            const SoftlabelSaved *saved, size_t saved_count, bool differentiable_backward,
                            void *closure, Backward backward, Drop drop) noexcept {
  return guarded([&] {
    auto &rust = static_cast<RustNode &>(**node);
    for (size_t index = 0; index < count; ++index) {
      auto &output = *outputs[index];
      // The history of an input, of a view, or of an output that comes twice is not this node's to write.
      bool shared = output.is_view();
      for (const void *input : rust.identities) {
        shared = shared || output.unsafeGetTensorImpl() == input;
      }
      for (size_t other = 0; other < index; ++other) {
        shared = shared || output.is_same(*outputs[other]);
      }
      if (shared) {
        output = output.detach();
      }
      if (output.requires_grad()) {
        throw std::runtime_error("output " + std::to_string(index) +
                                 " has a gradient history already; compute the outputs without gradients");
      }
    }
    // Saved before the first output gets its history, as saving may fail.
    std::vector<SavedVariable> kept(saved_count);
    for (size_t index = 0; index < saved_count; ++index) {
      if (saved[index].tensor != nullptr) {
        bool is_output = false;
        for (size_t other = 0; other < count; ++other) {
          is_output = is_output || saved[index].tensor->is_same(*outputs[other]);
        }
        if (is_output) {
          throw std::runtime_error("saved tensor " + std::to_string(index) +
                                   " is an output: saved as a tensor it would keep itself alive");
        }
        kept[index] = SavedVariable(*saved[index].tensor, false);
      }
    }
    for (size_t index = 0; index < count; ++index) {
      const auto &output = *outputs[index];
      if (differentiable[index] && torch::autograd::isDifferentiableType(output.scalar_type())) {
        torch::autograd::set_history(output, *node);
      } else {
        rust.add_input_metadata(Node::undefined_input());
      }
    }
    for (size_t index = 0; index < saved_count; ++index) {
      if (saved[index].tensor == nullptr) {
        const auto &output = *outputs[saved[index].output];
        kept[index] = SavedVariable(output, output.grad_fn() == *node);
      }
    }
    rust.saved = std::move(kept);
    rust.differentiable_backward = differentiable_backward;
    rust.backward = backward;
    rust.drop = drop;
    rust.closure = closure;
  });
}

char *softlabel_bump_version(const at::Tensor *tensor) noexcept {
  return guarded([&] {
    if (!tensor->defined()) {
      throw std::runtime_error("an undefined tensor has no version");
    }
    tensor->unsafeGetTensorImpl()->bump_version();
  });
}

} // extern "C"

// Where the elements of a CPU tensor lie.

#include <ATen/core/Tensor.h>

#include <cstdint>

extern "C" {

// `Memory` in slices.rs is the same.
struct SoftlabelMemory {
  size_t elements;
  // How many handles there are to the tensor, and how many tensors to its storage.
  size_t handles;
  size_t tensors;
  uint8_t defined;
  uint8_t on_cpu;
  uint8_t strided;
  uint8_t contiguous;
};

// False if libtorch threw, as the other functions here.
bool softlabel_memory(const at::Tensor *tensor, SoftlabelMemory *memory) noexcept {
  try {
    *memory = SoftlabelMemory{};
    memory->defined = tensor->defined();
    if (!memory->defined) {
      return true;
    }
    memory->on_cpu = tensor->device().is_cpu();
    memory->strided = tensor->layout() == at::kStrided && tensor->has_storage() && !tensor->is_nested();
    if (!memory->on_cpu || !memory->strided) {
      return true;
    }
    // A conjugated or negated view says something else than its memory.
    memory->contiguous = tensor->is_contiguous() && !tensor->is_conj() && !tensor->is_neg();
    memory->elements = static_cast<size_t>(tensor->numel());
    memory->handles = tensor->use_count();
    memory->tensors = tensor->storage().use_count();
    return true;
  } catch (...) {
    return false;
  }
}

// Where the elements of a strided CPU tensor lie. For writing, its version goes up.
bool softlabel_data(const at::Tensor *tensor, bool writable, void **data) noexcept {
  try {
    if (writable) {
      *data = tensor->mutable_data_ptr();
      tensor->unsafeGetTensorImpl()->bump_version();
    } else {
      *data = const_cast<void *>(tensor->const_data_ptr());
    }
    return true;
  } catch (...) {
    return false;
  }
}

} // extern "C"

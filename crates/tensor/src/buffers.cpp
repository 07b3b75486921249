// Large CPU buffers that are kept when their tensor lets go of them.

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <cstdint>
#include <iterator>
#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

// Asks the kernel to back what lies whole in 2 MiB pages with such pages, before it is touched for the first time.
// Advice: nothing is said if it is not taken.
void advise_huge(void *data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uintptr_t page = uintptr_t(1) << 21;
  const uintptr_t start = (reinterpret_cast<uintptr_t>(data) + page - 1) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(page - 1);
  if (start < end) {
    (void)madvise(reinterpret_cast<void *>(start), end - start, MADV_HUGEPAGE);
  }
#else
  (void)data, (void)bytes;
#endif
}

struct Buffer {
  void *data;
  size_t bytes;
};

class Buffers final : public c10::Allocator {
public:
  c10::DataPtr allocate(size_t bytes) override {
    void *data = take(bytes);
    if (data == nullptr) {
      data = c10::alloc_cpu(bytes);
      try {
        lend({data, bytes});
      } catch (...) {
        c10::free_cpu(data);
        throw;
      }
      advise_huge(data, bytes);
    }
    return {data, data, raw_deleter(), c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

  void copy_data(void *to, const void *from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  // Those beyond are freed, those kept for longest first.
  void keep_at_most(size_t bytes) {
    std::list<Buffer> freed;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      limit_ = bytes;
      shrink(freed);
    }
    free_all(freed);
  }

  size_t kept() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return bytes_;
  }

private:
  void lend(const Buffer &buffer) {
    std::list<Buffer> alone{buffer};
    const std::lock_guard<std::mutex> guard(mutex_);
    lent_.emplace(buffer.data, std::move(alone));
  }

  // The smallest that is large enough and not half as large again.
  void *take(size_t bytes) {
    const std::lock_guard<std::mutex> guard(mutex_);
    auto best = kept_.end();
    for (auto each = kept_.begin(); each != kept_.end(); ++each) {
      if (each->bytes >= bytes && each->bytes - bytes <= bytes / 2 &&
          (best == kept_.end() || each->bytes < best->bytes)) {
        best = each;
      }
    }
    if (best == kept_.end()) {
      return nullptr;
    }
    const Buffer buffer = *best;
    std::list<Buffer> &alone = lent_[buffer.data];
    alone.splice(alone.end(), kept_, best);
    bytes_ -= buffer.bytes;
    return buffer.data;
  }

  static void give_back(void *data) noexcept;

  // Allocates nothing, so it cannot fail.
  void keep(void *data) noexcept {
    std::list<Buffer> freed;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      const auto found = lent_.find(data);
      std::list<Buffer> &alone = found->second;
      const size_t bytes = alone.front().bytes;
      if (bytes > limit_) {
        freed.splice(freed.end(), alone);
      } else {
        kept_.splice(kept_.begin(), alone);
        bytes_ += bytes;
      }
      lent_.erase(found);
      shrink(freed);
    }
    free_all(freed);
  }

  void shrink(std::list<Buffer> &freed) {
    while (bytes_ > limit_) {
      bytes_ -= kept_.back().bytes;
      freed.splice(freed.end(), kept_, std::prev(kept_.end()));
    }
  }

  static void free_all(const std::list<Buffer> &buffers) {
    for (const Buffer &buffer : buffers) {
      c10::free_cpu(buffer.data);
    }
  }

  std::mutex mutex_;
  // Those that no tensor has, the last one kept first, and what they take.
  std::list<Buffer> kept_;
  size_t bytes_ = 0;
  size_t limit_ = size_t(512) << 20;
  // Those that a tensor has, each in a list of its own that it is moved back from.
  std::unordered_map<void *, std::list<Buffer>> lent_;
};

// Never destroyed: tensors may outlive everything.
Buffers &buffers() {
  static auto *const all = new Buffers();
  return *all;
}

void Buffers::give_back(void *data) noexcept { buffers().keep(data); }

} // namespace

extern "C" {

// A tensor with the dtype of another; null if libtorch threw.
at::Tensor *softlabel_allocate(const at::Tensor *like, const int64_t *shape, size_t axes) noexcept {
  try {
    return new at::Tensor(at::detail::empty_generic(at::IntArrayRef(shape, axes), &buffers(),
                                                    c10::DispatchKeySet(c10::DispatchKey::CPU),
                                                    like->scalar_type(), std::nullopt));
  } catch (...) {
    return nullptr;
  }
}

void softlabel_keep_at_most(size_t bytes) noexcept { buffers().keep_at_most(bytes); }

size_t softlabel_kept() noexcept { return buffers().kept(); }

} // extern "C"

// Work on libtorch's own threads.

#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include <cstdint>

// An iteration is what libtorch's library itself shares out, whatever its threads were built with; one element a call.
extern "C" bool softlabel_on_threads(int64_t count, void (*work)(void *), void *context) noexcept {
  try {
    auto iteration = at::TensorIteratorConfig()
                         .add_owned_output(at::empty({count}, at::kByte))
                         .check_all_same_dtype(false)
                         .resize_outputs(false)
                         .declare_static_shape({count})
                         .build();
    iteration.for_each(
        [=](char **, const int64_t *, int64_t size, int64_t times) {
          for (int64_t call = 0; call < size * times; ++call) {
            work(context);
          }
        },
        1);
    return true;
  } catch (...) {
    return false;
  }
}

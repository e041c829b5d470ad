// What the CPU kernels need of MLX and mlx-c does not offer: operations whose work is done by a function of ours, and
// arrays over memory of ours. The header of each function stands in src/array/host.rs, its only user.

#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/array.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "mlx/mlx.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

extern "C" {

// An evaluated array: strides count elements.
struct mlxe_buffer {
  void* data;
  const int32_t* shape;
  const int64_t* strides;
  int32_t rank;
  mlx_dtype dtype;
};

// Returns 0, or something else if the work failed.
typedef int (*mlxe_run)(void* context, const mlxe_buffer* inputs, size_t n_inputs, const mlxe_buffer* outputs, size_t n_outputs);
typedef void (*mlxe_drop)(void* context);
}

namespace {

struct Context {
  void* data;
  mlxe_run run;
  mlxe_drop drop;

  Context(void* data, mlxe_run run, mlxe_drop drop) : data(data), run(run), drop(drop) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    drop(data);
  }
};

mlxe_buffer buffer_of(mx::array& a) {
  return {
      // An input may have no elements, and then no memory.
      a.size() == 0 ? nullptr : const_cast<char*>(a.data<char>()),
      a.shape().data(),
      a.strides().data(),
      static_cast<int32_t>(a.ndim()),
      mlx_dtype_to_c(a.dtype())};
}

class HostOp : public mx::Primitive {
 public:
  HostOp(mx::Stream stream, std::shared_ptr<Context> context)
      : mx::Primitive(stream), context_(std::move(context)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (auto& out : outputs) {
      out.set_data(mx::allocator::malloc(out.nbytes()));
    }
    auto& encoder = mx::cpu::get_command_encoder(stream());
    std::vector<mx::array> ins, outs;
    ins.reserve(inputs.size());
    outs.reserve(outputs.size());
    for (const auto& a : inputs) {
      encoder.set_input_array(a);
      ins.push_back(mx::array::unsafe_weak_copy(a));
    }
    for (auto& a : outputs) {
      encoder.set_output_array(a);
      outs.push_back(mx::array::unsafe_weak_copy(a));
    }
    encoder.dispatch([context = context_, ins = std::move(ins), outs = std::move(outs)]() mutable {
      std::vector<mlxe_buffer> buffers;
      buffers.reserve(ins.size() + outs.size());
      for (auto& a : ins) {
        buffers.push_back(buffer_of(a));
      }
      for (auto& a : outs) {
        buffers.push_back(buffer_of(a));
      }
      if (context->run(context->data, buffers.data(), ins.size(), buffers.data() + ins.size(), outs.size()) != 0) {
        throw std::runtime_error("a CPU kernel failed");
      }
    });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error("CPU kernels do not run on a GPU");
  }

  const char* name() const override {
    return "HostOp";
  }

 private:
  std::shared_ptr<Context> context_;
};

} // namespace

extern "C" int mlxe_host_op(
    mlx_vector_array* result,
    const mlx_array* inputs,
    size_t n_inputs,
    const int32_t* shapes,
    const size_t* ranks,
    const mlx_dtype* dtypes,
    size_t n_outputs,
    void* data,
    mlxe_run run,
    mlxe_drop drop,
    mlx_stream stream) {
  try {
    auto context = std::make_shared<Context>(data, run, drop);
    std::vector<mx::array> ins;
    ins.reserve(n_inputs);
    for (size_t i = 0; i < n_inputs; i++) {
      ins.push_back(mlx_array_get_(inputs[i]));
    }
    std::vector<mx::Shape> out_shapes;
    std::vector<mx::Dtype> out_dtypes;
    for (size_t i = 0; i < n_outputs; i++) {
      out_shapes.emplace_back(shapes, shapes + ranks[i]);
      out_dtypes.push_back(mlx_dtype_to_cpp(dtypes[i]));
      shapes += ranks[i];
    }
    auto primitive = std::make_shared<HostOp>(mlx_stream_get_(stream), std::move(context));
    mlx_vector_array_set_(*result, mx::array::make_arrays(std::move(out_shapes), out_dtypes, primitive, ins));
    return 0;
  } catch (std::exception& e) {
    mlx_error("%s", e.what());
    return 1;
  }
}

// An array over `bytes` that live until `drop(context)`. Returns 2, leaving everything alone, where this MLX keeps its
// memory in another way.
extern "C" int mlxe_array_over(
    mlx_array* result,
    void* bytes,
    const int32_t* shape,
    size_t rank,
    mlx_dtype dtype,
    void* context,
    mlxe_drop drop) {
  // MLX's CPU allocator writes the size of a block before it; raw_ptr() skips that.
  mx::allocator::Buffer buffer(static_cast<size_t*>(bytes) - 1);
  if (buffer.raw_ptr() != bytes) {
    return 2;
  }
  auto owner = std::make_shared<Context>(context, [](void*, const mlxe_buffer*, size_t, const mlxe_buffer*, size_t) { return 1; }, drop);
  try {
    mlx_array_set_(
        *result,
        mx::array(buffer, mx::Shape(shape, shape + rank), mlx_dtype_to_cpp(dtype), [owner](mx::allocator::Buffer) {}));
    return 0;
  } catch (std::exception& e) {
    mlx_error("%s", e.what());
    return 1;
  }
}

// Kernels of ours for CUDA, which mlx-c cannot run: it hands MLX sources only, and MLX compiles those with so many headers
// that it takes seconds, anew in each process. The other side is src/array/cuda/kernel.rs.

#include <dlfcn.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlx/c/array.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "mlx/fast.h"
#include "mlx/mlx.h"

namespace mx = mlx::core;

namespace {

// NVRTC, which MLX for CUDA has loaded. Its ABI is C and documented; nothing of CUDA is needed to build this file.
struct Nvrtc {
  using Program = void*;
  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Program, int, const char* const*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);
  int (*image_size)(Program, size_t*);
  int (*image)(Program, char*);
  int (*destroy)(Program*);

  Nvrtc() {
    void* library = nullptr;
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12"}) {
      library = library ? library : dlopen(name, RTLD_LAZY);
    }
    if (!library) {
      throw std::runtime_error("NVRTC, CUDA's compiler at run time, was not found");
    }
    find(library, create, "nvrtcCreateProgram");
    find(library, compile, "nvrtcCompileProgram");
    find(library, log_size, "nvrtcGetProgramLogSize");
    find(library, log, "nvrtcGetProgramLog");
    find(library, image_size, "nvrtcGetCUBINSize");
    find(library, image, "nvrtcGetCUBIN");
    find(library, destroy, "nvrtcDestroyProgram");
  }

  template <typename F>
  static void find(void* library, F& function, const char* name) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (!function) {
      throw std::runtime_error(std::string("NVRTC has no ") + name);
    }
  }
};

std::string compiled(const char* source, const char* architecture) {
  static const Nvrtc nvrtc;
  Nvrtc::Program program = nullptr;
  if (nvrtc.create(&program, source, "mlxe.cu", 0, nullptr, nullptr) != 0) {
    throw std::runtime_error("NVRTC takes no program");
  }
  std::unique_ptr<void, void (*)(void*)> owner(program, [](void* p) { nvrtc.destroy(&p); });
  const std::string target = std::string("--gpu-architecture=") + architecture;
  const char* options[] = {target.c_str(), "--device-as-default-execution-space"};
  size_t size = 0;
  if (nvrtc.compile(program, 2, options) != 0) {
    std::string text;
    if (nvrtc.log_size(program, &size) == 0 && size > 0) {
      text.resize(size);
      nvrtc.log(program, text.data());
    }
    throw std::runtime_error("a CUDA kernel does not compile for " + target + ": " + text.c_str());
  }
  std::string image;
  if (nvrtc.image_size(program, &size) != 0 || size == 0) {
    throw std::runtime_error("NVRTC made no code for " + target);
  }
  image.resize(size);
  if (nvrtc.image(program, image.data()) != 0) {
    throw std::runtime_error("NVRTC gives no code for " + target);
  }
  return image;
}

// Eight bytes with the hash of `text`; `text` itself where the standard library hashes otherwise than supposed here.
//
// MLX copies and hashes a kernel's code whenever it is used, to find the module that it has loaded by name and hash: 4
// microseconds for 28 KB, more than all else that the host does for the operation. What is hashed need not be the code once
// the module is there. libstdc++'s hash (Murmur, `_Hash_bytes`) can be inverted for eight bytes, because each of its steps
// can; the result is checked with std::hash. Another standard library has another hash, and works as well, more slowly; a
// test in src/array/cuda/kernel.rs says when that happens.
std::string same_hash(const std::string& text) {
#ifndef __GLIBCXX__
  return text;
#else
  static_assert(sizeof(size_t) == 8);
  const uint64_t factor = 0xc6a4a7935bd1e995, seed = 0xc70f6907;
  uint64_t inverse = factor; // Newton's iteration doubles the bits that are right, three at first.
  for (int i = 0; i < 5; i++) {
    inverse *= 2 - factor * inverse;
  }
  const auto mix = [](uint64_t v) { return v ^ (v >> 47); }; // undoes itself
  const uint64_t hash = std::hash<std::string>{}(text);
  const uint64_t mixed = mix(mix(hash) * inverse) * inverse ^ seed ^ 8 * factor;
  const uint64_t block = mix(mixed * inverse) * inverse;
  std::string alias(reinterpret_cast<const char*>(&block), sizeof(block));
  return std::hash<std::string>{}(alias) == hash ? alias : text;
#endif
}

} // namespace

// The machine code of a kernel, to be freed.
struct mlxe_cuda_image {
  std::string bytes;
  // Stands for the bytes once MLX has loaded them.
  std::string alias;

  explicit mlxe_cuda_image(std::string code) : bytes(std::move(code)), alias(same_hash(bytes)) {}
};

extern "C" mlxe_cuda_image* mlxe_cuda_image_new(const char* bytes, size_t size) {
  return new mlxe_cuda_image(std::string(bytes, size));
}

extern "C" int mlxe_cuda_image_compile(mlxe_cuda_image** result, const char* source, const char* architecture) {
  try {
    *result = new mlxe_cuda_image(compiled(source, architecture));
    return 0;
  } catch (std::exception& e) {
    mlx_error("%s", e.what());
    return 1;
  }
}

extern "C" const char* mlxe_cuda_image_bytes(const mlxe_cuda_image* image, size_t* size) {
  *size = image->bytes.size();
  return image->bytes.data();
}

extern "C" void mlxe_cuda_image_free(mlxe_cuda_image* image) {
  delete image;
}

// Whether uses after the first can do without the code.
extern "C" bool mlxe_cuda_image_has_alias(const mlxe_cuda_image* image) {
  return image->alias.size() < image->bytes.size();
}

// Lazy results of a kernel that takes its inputs, its outputs and then the scalars. `loaded`: an earlier use of the same code
// was computed.
extern "C" int mlxe_cuda_run(
    mlx_vector_array* result,
    const mlxe_cuda_image* image,
    bool loaded,
    const char* name,
    const mlx_array* inputs,
    size_t n_inputs,
    const int32_t* shapes,
    const size_t* ranks,
    const mlx_dtype* dtypes,
    size_t n_outputs,
    const int32_t* scalars,
    size_t n_scalars,
    const int32_t* blocks,
    int32_t threads,
    mlx_stream stream) {
  try {
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
    auto outs = mx::fast::precompiled_cuda_kernel(
        name,
        loaded ? image->alias : image->bytes,
        ins,
        out_shapes,
        out_dtypes,
        std::vector<mx::fast::ScalarArg>(scalars, scalars + n_scalars),
        {blocks[0] * threads, blocks[1], blocks[2]},
        {threads, 1, 1},
        /* shared_memory */ 0,
        std::nullopt,
        /* ensure_row_contiguous */ true,
        mlx_stream_get_(stream));
    mlx_vector_array_set_(*result, std::move(outs));
    return 0;
  } catch (std::exception& e) {
    mlx_error("%s", e.what());
    return 1;
  }
}

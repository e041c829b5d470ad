// Force-included when compiling or binding mlx-c on hosts that are not Apple's (build.rs, xtask bindings).
#pragma once

#if defined(__cplusplus)
// GCC before 13 has no <format>. mlx-c includes it nowhere, uses std::format, and only with plain "{}" placeholders.
#include <version>
#if __has_include(<format>)
#include <format>
#endif
#if !defined(__cpp_lib_format)
#include <sstream>
#include <string>
#include <string_view>
namespace std {
template <class... Args>
string format(string_view text, const Args&... args) {
  ostringstream out;
  size_t from = 0;
  auto put = [&](const auto& value) {
    const size_t at = text.find("{}", from);
    if (at == string_view::npos) return;
    out << text.substr(from, at - from) << value;
    from = at + 2;
  };
  (put(args), ...);
  out << text.substr(from);
  return out.str();
}
}  // namespace std
#endif
#endif

// mlx-c's half.h declares the half-precision accessors for Arm only.
#if !defined(__aarch64__) && !defined(__ARM_FEATURE_FP16_SCALAR_ARITHMETIC)
#if defined(__cplusplus)
#include "mlx/types/half_types.h"
using float16_t = mlx::core::float16_t;
using bfloat16_t = mlx::core::bfloat16_t;
#else
typedef __fp16 float16_t;
typedef unsigned short bfloat16_t;
#endif
#define HAS_FLOAT16
#define HAS_BFLOAT16
#endif

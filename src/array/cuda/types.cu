// Numbers of 16 bits, and tensor cores over them. Nothing is included: NVRTC compiles this in a tenth of the time.

using uint32_t = unsigned;

#define INFINITY __int_as_float(0x7f800000)

struct bf16 {
  unsigned short bits;
  bf16() = default;
  __device__ explicit bf16(float v) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  }
  __device__ operator float() const {
    return __uint_as_float(uint32_t(bits) << 16);
  }
};

struct f16 {
  unsigned short bits;
  f16() = default;
  __device__ explicit f16(float v) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  }
  __device__ operator float() const {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
  }
};

template <typename T>
struct Mma;

template <>
struct Mma<bf16> {
  // 128 + code: bfloat16 has seven fraction bits.
  static constexpr uint32_t kOffsetBits = 0x43004300, kOnes = 0x3f803f80;
  static constexpr float kOffset = 128.0f;
  __device__ static void run(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  __device__ static uint32_t pack(float low, float high) {
    uint32_t v;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
  }
  __device__ static float2 unpack(uint32_t v) {
    return {__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u)};
  }
};

template <>
struct Mma<f16> {
  // 1024 + code: half has ten fraction bits.
  static constexpr uint32_t kOffsetBits = 0x64006400, kOnes = 0x3c003c00;
  static constexpr float kOffset = 1024.0f;
  __device__ static void run(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  __device__ static uint32_t pack(float low, float high) {
    uint32_t v;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
  }
  __device__ static float2 unpack(uint32_t v) {
    f16 low, high;
    low.bits = v & 0xffffu, high.bits = v >> 16;
    return {float(low), float(high)};
  }
};

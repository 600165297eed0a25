// CUDA's words for a host compiler; host.cpp runs the blocks, and their threads in turns. Arithmetic is
// that of the host, which must not contract either.
#include <cmath>
#include <cstdint>
#include <cstring>

using std::cos; using std::exp; using std::fabs; using std::log; using std::sin; using std::tanh;

#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __shared__ static __attribute__((section("shared_memory")))
#define __syncthreads() wait_here(__LINE__)
#define __launch_bounds__(threads)
#define __constant__ static const
#define __align__(bytes) __attribute__((aligned(bytes)))

struct Index { unsigned x; };
extern Index gridDim, blockIdx, blockDim, threadIdx;

void wait_here(int line);
void exchange(unsigned lanes, void* number, unsigned size, int lane_mask, int line);

template <typename T> static T exchanged(unsigned lanes, T number, int lane_mask, int line) {
    exchange(lanes, &number, sizeof number, lane_mask, line);
    return number;
}
#define __shfl_xor_sync(lanes, number, lane_mask) exchanged(lanes, number, lane_mask, __LINE__)

const char* run_grid(
    unsigned blocks, unsigned threads, bool meets, void (*kernel)(void*), void* arguments
);

static float __fadd_rn(float a, float b) { return a + b; }
static float __fsub_rn(float a, float b) { return a - b; }
static float __fmul_rn(float a, float b) { return a * b; }
static float __fdiv_rn(float a, float b) { return a / b; }
static float __fsqrt_rn(float a) { return std::sqrt(a); }
static float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static double __dsqrt_rn(double a) { return std::sqrt(a); }
static double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
static float __uint2float_rn(unsigned a) { return (float)a; }
static float __int2float_rn(int a) { return (float)a; }
static double __int2double_rn(int a) { return (double)a; }
static double __ll2double_rn(long long a) { return (double)a; }
static double __ull2double_rn(unsigned long long a) { return (double)a; }

#define RECIPROCAL_ROOT(y, a) y = 1 / std::sqrt(a)

template <typename To, typename From> static To bits_of(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
static int __float_as_int(float a) { return bits_of<int>(a); }
static float __int_as_float(int a) { return bits_of<float>(a); }
static long long __double_as_longlong(double a) { return bits_of<long long>(a); }
static double __longlong_as_double(long long a) { return bits_of<double>(a); }

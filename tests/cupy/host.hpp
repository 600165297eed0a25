// CUDA's words for a host compiler: blocks as a loop, the threads of a block as fibers that take
// turns at __syncthreads. Arithmetic is that of the host, which must not contract either.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

using std::cos; using std::exp; using std::fabs; using std::log; using std::sin; using std::tanh;

#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __shared__ static
#define __launch_bounds__(threads)
#define __constant__ static const
#define __align__(bytes) __attribute__((aligned(bytes)))

struct Index { unsigned x; };
static Index gridDim, blockIdx, blockDim, threadIdx;

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

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 16);
    bool is_done = false;
};
static ucontext_t scheduler;
static Fiber* running;
static const std::function<void()>* body;

static void __syncthreads() { swapcontext(&running->context, &scheduler); }

static void enter() {
    (*body)();
    running->is_done = true;
    swapcontext(&running->context, &scheduler);
}

// Every thread runs to its next __syncthreads before any runs on.
static void run_block_of_fibers(unsigned threads) {
    static std::vector<Fiber> fibers;
    fibers.resize(threads);
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.is_done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (unsigned i = 0; i < threads; ++i) {
            if (fibers[i].is_done) continue;
            running = &fibers[i];
            threadIdx.x = i;
            swapcontext(&scheduler, &running->context);
            is_busy |= !running->is_done;
        }
    }
}

static void run_grid(
    unsigned blocks, unsigned threads, bool meets, const std::function<void()>& kernel
) {
    body = &kernel;
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        if (meets) {
            run_block_of_fibers(threads);
        } else {
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel();
        }
    }
}

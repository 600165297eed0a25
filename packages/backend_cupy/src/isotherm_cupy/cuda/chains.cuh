// What all kernels share: the Langevin step and where kept states go.

__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

struct Step {
    REAL low, high;

    // x <- (x - step_size * gradient) + scale * normal, then the clamp, which lets NaN pass.
    __device__ __forceinline__ REAL operator()(
        REAL x, REAL gradient, REAL normal, REAL step_size, REAL scale
    ) const {
        REAL v = sub(x, mul(step_size, gradient));
        if (scale != REAL(0)) v = add(v, mul(scale, normal));
        v = v < low ? low : v;
        return v > high ? high : v;
    }
};

// Kept state k of a chain lies at chain * chain_stride + k * kept_stride.
struct States {
    REAL* at;
    long long chain_stride, kept_stride;

    __device__ __forceinline__ REAL& operator()(long long chain, long long k, int j) const {
        return at[chain * chain_stride + k * kept_stride + j];
    }
};

__device__ __forceinline__ long long thread_number() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}

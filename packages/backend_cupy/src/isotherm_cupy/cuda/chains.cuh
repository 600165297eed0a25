// What the kernels share: the loop over blocks of steps, the Langevin step, and where kept states
// go. VARIES, CLAMPS and KEEPS say what a plan needs, so that nobody pays for what it does not.

__device__ __forceinline__ long long thread_number() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}

// A run as a kernel's parameters, which a struct would pass less portably: one line, for whoever
// reads the kernels' signatures.
#define RUN_PARAMETERS const REAL* step_size, const REAL* scale, int n_steps, long long first_step, int until_kept, int thinning, unsigned k0, unsigned k1, unsigned stream, unsigned long long chain_offset, REAL low, REAL high, REAL* states, long long chain_stride, long long kept_stride
#define RUN {step_size, scale, n_steps, first_step, until_kept, thinning, k0, k1, stream, chain_offset, low, high, states, chain_stride, kept_stride, step_size[0], scale[0]}

// Where in the stream a run is, its schedules, its clamp, and what becomes of kept states.
struct Run {
    const REAL *step_size, *scale;
    int n_steps;
    long long first_step;
    int until_kept, thinning;  // the first step that is kept, counted from 1, and how far the next
    unsigned k0, k1, stream;
    unsigned long long chain_offset;
    REAL low, high;
    REAL* states;
    long long chain_stride, kept_stride;
    REAL first_step_size, first_scale;

    __device__ __forceinline__ void fill(
        REAL* z, unsigned block, unsigned coordinate, long long chain
    ) const {
        const unsigned long long c = chain_offset + (unsigned long long)chain;
        const Words counter = {block, coordinate, (unsigned)c, (unsigned)(c >> 32) | stream << 24};
        normals(philox(counter, k0, k1), z);
    }

    // x <- (x - step_size * gradient) + scale * normal, then the clamp, which lets NaN pass.
    __device__ __forceinline__ REAL step(REAL x, REAL gradient, REAL normal, int s) const {
#if VARIES
        REAL v = sub(x, mul(step_size[s], gradient));
        if (scale[s] != REAL(0)) v = add(v, mul(scale[s], normal));
#else
        REAL v = add(sub(x, mul(first_step_size, gradient)), mul(first_scale, normal));
#endif
#if CLAMPS
        v = v < low ? low : v;
        v = v > high ? high : v;
#endif
        return v;
    }

};

// Where a thread's next kept state goes, and how many steps there are until then.
struct Kept {
    REAL* at;
    int left, thinning;
    long long stride;

    __device__ __forceinline__ Kept(const Run& run, long long chain, int j)
        : at(run.states + chain * run.chain_stride + j), left(run.until_kept),
          thinning(run.thinning), stride(run.kept_stride) {}

    // After every step: store(at) where its state is kept.
    template <class Store> __device__ __forceinline__ void step(Store store) {
#if KEEPS
        if (--left == 0) {
            store(at);
            at += stride;
            left = thinning;
        }
#endif
    }
};

// Call fill(block), then take(position, s) for each step s of the block, by its position in it. The
// positions are constants once the loops are unrolled, so that normals stay in registers.
template <class Fill, class Take>
__device__ __forceinline__ void for_each_step(const Run& run, Fill fill, Take take) {
    unsigned block = (unsigned)(run.first_step / STEPS_PER_BLOCK);
    const int first = (int)(run.first_step % STEPS_PER_BLOCK);
    int s = 0;
    if (first) {
        fill(block++);
#pragma unroll
        for (int position = 1; position < STEPS_PER_BLOCK; ++position)
            if (position >= first && s < run.n_steps) take(position, s++);
    }
#pragma unroll 1
    for (; run.n_steps - s >= STEPS_PER_BLOCK; s += STEPS_PER_BLOCK) {
        fill(block++);
#pragma unroll
        for (int position = 0; position < STEPS_PER_BLOCK; ++position) take(position, s + position);
    }
    if (s < run.n_steps) {
        fill(block);
#pragma unroll
        for (int position = 0; position < STEPS_PER_BLOCK - 1; ++position)
            if (s + position < run.n_steps) take(position, s + position);
    }
}

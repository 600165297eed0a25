// What the kernels share: where a thread's noise comes from, the loop over blocks of steps, where kept
// states go, and what adds up a chain's numbers in one thread. KEEPS says whether any are kept.

__device__ __forceinline__ long long thread_number() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}

// What is read of memory before, the compiler keeps in registers no longer.
__device__ __forceinline__ void read_memory_again() {
    asm volatile("" ::: "memory");
}

// The noise of a run; a chain's number is that in the run.
struct Noise {
    unsigned k0, k1;
    unsigned long long chain_offset;

    __device__ __forceinline__ Words words(
        unsigned stream, unsigned block, unsigned coordinate, long long chain
    ) const {
        const unsigned long long c = chain_offset + (unsigned long long)chain;
        return philox({block, coordinate, (unsigned)c, (unsigned)(c >> 32) | stream << 24}, k0, k1);
    }

    // The normals of a block of steps.
    __device__ __forceinline__ void fill(
        REAL* z, unsigned stream, unsigned block, unsigned coordinate, long long chain
    ) const {
        normals(words(stream, block, coordinate, chain), z);
    }

    // One of them.
    __device__ __forceinline__ REAL normal(
        unsigned stream, unsigned block, int position, unsigned coordinate, long long chain
    ) const {
        const Words w = words(stream, block, coordinate, chain);
        REAL z[2];
        pair_of_normals(w, position >> 1, z);
        return position & 1 ? z[1] : z[0];
    }

    // -ln u of the accept stream.
    __device__ __forceinline__ REAL exponential(long long step, long long chain) const {
        const int position = (int)(step % EXPONENTIALS_PER_BLOCK);
        const Words w = words(ACCEPT, (unsigned)(step / EXPONENTIALS_PER_BLOCK), 0, chain);
        const unsigned low = position & 1 ? w.w1 : w.w0, high = position & 1 ? w.w3 : w.w2;
        return mul(REAL(0.5), minus_two_log_of_word(position & 2 ? high : low, REAL(0)));
    }
};

// Where a thread's next kept state goes, its number, and how many steps there are until then.
struct Kept {
    REAL* at;
    int left, thinning;
    long long stride, number;

    __device__ __forceinline__ Kept(REAL* first, int until_kept, int thinning, long long stride)
        : at(first), left(until_kept), thinning(thinning), stride(stride), number(0) {}

    // After every step: store(at, number) where its state is kept.
    template <class Store> __device__ __forceinline__ void step(Store store) {
#if KEEPS
        if (--left == 0) {
            store(at, number);
            at += stride;
            ++number;
            left = thinning;
        }
#endif
    }
};

// Call fill(block), then take(position, s) for each step s of the block, by its position in it. The
// positions are constants once the loops are unrolled, so that normals stay in registers.
template <class Fill, class Take>
__device__ __forceinline__ void for_each_step(
    long long first_step, int n_steps, Fill fill, Take take
) {
    unsigned block = (unsigned)(first_step / STEPS_PER_BLOCK);
    const int first = (int)(first_step % STEPS_PER_BLOCK);
    int s = 0;
    if (first) {
        fill(block++);
#pragma unroll
        for (int position = 1; position < STEPS_PER_BLOCK; ++position)
            if (position >= first && s < n_steps) take(position, s++);
    }
#pragma unroll 1
    for (; n_steps - s >= STEPS_PER_BLOCK; s += STEPS_PER_BLOCK) {
        fill(block++);
#pragma unroll
        for (int position = 0; position < STEPS_PER_BLOCK; ++position) take(position, s + position);
    }
    if (s < n_steps) {
        fill(block);
#pragma unroll
        for (int position = 0; position < STEPS_PER_BLOCK - 1; ++position)
            if (s + position < n_steps) take(position, s + position);
    }
}

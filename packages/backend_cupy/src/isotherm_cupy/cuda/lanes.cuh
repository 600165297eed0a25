// Where LANES threads of a warp, a power of two, have a chain: lane l has coordinates l, l + LANES, ...
// in registers, HELD of them. Past the last one it has that once more, which no sum counts; and lanes
// of no chain go along with the last, as all lanes of a warp are needed where they hand each other
// numbers. Neither is ever stored.

__device__ __forceinline__ int lane() { return (int)threadIdx.x % LANES; }

__device__ __forceinline__ bool is_own(int i) { return lane() + i * LANES < DIM; }

__device__ __forceinline__ int coordinate(int i) {
    return is_own(i) ? lane() + i * LANES : DIM - 1;
}

// The total of v[0] .. v[n - 1], folded by a power of two; v is used up.
template <int n> __device__ __forceinline__ REAL folded(REAL* v) {
    if constexpr (n > 1) {
        constexpr int s = highest_bit(n - 1);
#pragma unroll
        for (int i = 0; i < n - s; ++i) v[i] = add(v[i], v[i + s]);
        return folded<s>(v);
    }
    return v[0];
}

// The total over a chain's coordinates: folds by LANES and more are within lanes, others between
// them. There both of a pair add the other's number, so that all lanes end with the same sum.
__device__ __forceinline__ REAL total(const REAL* v) {
    REAL terms[HELD];
#pragma unroll
    for (int i = 0; i < HELD; ++i) terms[i] = is_own(i) ? v[i] : REAL(-0.0);
    REAL sum = folded<HELD>(terms);
#pragma unroll
    for (int s = LANES / 2; s > 0; s /= 2) sum = add(sum, __shfl_xor_sync(~0u, sum, s));
    return sum;
}

// A matrix, column by column, times v, where one lane has all: product, then sum, in the order of the
// columns.
__device__ __forceinline__ void matvec(const REAL* columns, const REAL* v, REAL* out) {
#pragma unroll
    for (int j = 0; j < DIM; ++j) {
        REAL sum = mul(columns[j], v[0]);
#pragma unroll
        for (int k = 1; k < DIM; ++k) sum = add(sum, mul(columns[k * DIM + j], v[k]));
        out[j] = sum;
    }
}

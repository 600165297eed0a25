// Where a thread is one chain: sums over its coordinates, which are in registers.

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

__device__ __forceinline__ REAL total(const REAL* v) {
    REAL terms[DIM];
#pragma unroll
    for (int j = 0; j < DIM; ++j) terms[j] = v[j];
    return folded<DIM>(terms);
}

// A matrix, column by column, times v: product, then sum, in the order of the columns.
__device__ __forceinline__ void matvec(const REAL* columns, const REAL* v, REAL* out) {
#pragma unroll
    for (int j = 0; j < DIM; ++j) {
        REAL sum = mul(columns[j], v[0]);
#pragma unroll
        for (int k = 1; k < DIM; ++k) sum = add(sum, mul(columns[k * DIM + j], v[k]));
        out[j] = sum;
    }
}

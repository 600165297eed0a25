// Where a block holds a few tiles of TILE chains, and a thread is one coordinate of one of them: what
// takes the others' numbers, by way of the tile's `row` of shared memory, where a coordinate's
// numbers lie next to each other. Between two such calls no thread may be where another still reads:
// they take rows of two buffers in turns.

__device__ __forceinline__ void total(const REAL* v, REAL* out, REAL* row, int j) {
#pragma unroll
    for (int c = 0; c < TILE; ++c) row[j * TILE + c] = v[c];
    __syncthreads();
#pragma unroll
    for (int s = highest_bit(DIM - 1); s > 0; s /= 2) {
        if (j < s && j + s < DIM) {
#pragma unroll
            for (int c = 0; c < TILE; ++c)
                row[j * TILE + c] = add(row[j * TILE + c], row[(j + s) * TILE + c]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int c = 0; c < TILE; ++c) out[c] = row[c];
}

// element(0) .. element(DIM - 1), a row of a matrix, times each of the tile's chains: product, then
// sum, in the order of the columns.
template <class Element>
__device__ __forceinline__ void product(Element element, const REAL* row, REAL* out) {
    const REAL first = element(0);
#pragma unroll
    for (int c = 0; c < TILE; ++c) out[c] = mul(first, row[c]);
#pragma unroll UNROLLED
    for (int k = 1; k < DIM; ++k) {
        const REAL next = element(k);
#pragma unroll
        for (int c = 0; c < TILE; ++c) out[c] = add(out[c], mul(next, row[k * TILE + c]));
    }
}

// A matrix, column by column, times the chains' numbers.
__device__ __forceinline__ void matvec(
    const REAL* columns, const REAL* v, REAL* out, REAL* row, int j
) {
#pragma unroll
    for (int c = 0; c < TILE; ++c) row[j * TILE + c] = v[c];
    __syncthreads();
    product([&](int k) { return columns[k * DIM + j]; }, row, out);
}

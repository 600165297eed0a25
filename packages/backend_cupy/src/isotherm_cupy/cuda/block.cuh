// Where a block holds a few chains, and a thread is one coordinate of one of them: what takes the
// others' numbers, by way of the chain's `row` of shared memory. Between two such calls no thread
// may be where another still reads: they take rows of two buffers in turns.

__device__ __forceinline__ REAL total(REAL v, REAL* row, int j) {
    row[j] = v;
    __syncthreads();
#pragma unroll
    for (int s = highest_bit(DIM - 1); s > 0; s /= 2) {
        if (j < s && j + s < DIM) row[j] = add(row[j], row[j + s]);
        __syncthreads();
    }
    return row[0];
}

// A matrix, column by column, times the chain's numbers: product, then sum, in the order of the
// columns.
__device__ __forceinline__ REAL matvec(const REAL* columns, REAL v, REAL* row, int j) {
    row[j] = v;
    __syncthreads();
    REAL sum = mul(columns[j], row[0]);
    for (int k = 1; k < DIM; ++k) sum = add(sum, mul(columns[k * DIM + j], row[k]));
    return sum;
}

// The quadratic form. The parameters are the mean, then the precision row by row, which is symmetric:
// the thread of coordinate j reads its column, next to its neighbours'.

// What a thread knows of the form.
struct Uniform {
    REAL mean;
    const REAL* column;
#if ROW_IN_REGISTERS
    REAL elements[DIM];
#endif

    __device__ __forceinline__ Uniform(const REAL* parameters, int j)
        : mean(parameters[j]), column(parameters + DIM + j) {
#if ROW_IN_REGISTERS
#pragma unroll
        for (int k = 0; k < DIM; ++k) elements[k] = column[k * DIM];
#endif
    }

    __device__ __forceinline__ REAL element(int k) const {
#if ROW_IN_REGISTERS
        return elements[k];
#else
        return column[k * DIM];
#endif
    }
};

__device__ __forceinline__ void gradient(
    const REAL* x, REAL* out, const Uniform& uniform, REAL* row, int j
) {
#pragma unroll
    for (int c = 0; c < TILE; ++c) row[j * TILE + c] = sub(x[c], uniform.mean);
    __syncthreads();
    product([&](int k) { return uniform.element(k); }, row, out);
}

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
};

// Product, then sum, in the order of the columns.
__device__ __forceinline__ REAL gradient(REAL x, const Uniform& uniform, REAL* row, int j) {
    row[j] = sub(x, uniform.mean);
    __syncthreads();
#if ROW_IN_REGISTERS
    REAL slope = mul(uniform.elements[0], row[0]);
#pragma unroll
    for (int k = 1; k < DIM; ++k) slope = add(slope, mul(uniform.elements[k], row[k]));
#else
    REAL slope = mul(uniform.column[0], row[0]);
    for (int k = 1; k < DIM; ++k) slope = add(slope, mul(uniform.column[k * DIM], row[k]));
#endif
    return slope;
}

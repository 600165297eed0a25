// Where a team of TEAM threads has a chain, and a block WIDTH chains: arrays of a chain lie in global
// memory in its column, element i of it WIDTH numbers after element i - 1, so that neighbouring threads
// read neighbouring numbers, of chains first and then of elements. The members of a team take
// elements in turns, each the same ones in every loop over as many.

// Until all members have come here, and see what each has written.
__device__ __forceinline__ void meet() {
    if constexpr (TEAM > 1) __syncthreads();
}

// Row i of out is the total of the elements i * count .. i * count + count - 1 of v, folded by a power
// of two. There is room in rest for what the first fold leaves.
static __device__ __noinline__ void fold(
    const REAL* v, REAL* out, REAL* rest, int rows, int count, int member
) {
    int half = 1;
    while (2 * half < count) half *= 2;
    for (int k = member; k < rows * half; k += TEAM) {
        const int row = k / half, i = k % half, at = row * count + i;
        const REAL first = v[at * WIDTH];
        rest[k * WIDTH] = i + half < count ? add(first, v[(at + half) * WIDTH]) : first;
    }
    for (int s = half / 2; s > 0; s /= 2) {
        meet();
        for (int k = member; k < rows * s; k += TEAM) {
            const int at = k / s * half + k % s;
            rest[at * WIDTH] = add(rest[at * WIDTH], rest[(at + s) * WIDTH]);
        }
    }
    meet();
    for (int k = member; k < rows; k += TEAM) out[k * WIDTH] = rest[k * half * WIDTH];
}

// The total of v[0] .. v[DIM - 1], for every member of the team.
__device__ __forceinline__ REAL total(const REAL* v, REAL* rest, int member) {
    meet();
    if constexpr (DIM > 1) {
        fold(v, rest + highest_bit(DIM - 1) * WIDTH, rest, 1, DIM, member);
        meet();
    }
    const REAL sum = DIM > 1 ? rest[highest_bit(DIM - 1) * WIDTH] : v[0];
    meet();
    return sum;
}

// A matrix, column by column, times v: product, then sum, in the order of the columns.
__device__ __forceinline__ void matvec(
    const REAL* columns, const REAL* v, REAL* out, REAL*, int member
) {
    meet();
    for (int j = member; j < DIM; j += TEAM) {
        REAL sum = mul(columns[j], v[0]);
        for (int k = 1; k < DIM; ++k) sum = add(sum, mul(columns[k * DIM + j], v[k * WIDTH]));
        out[j * WIDTH] = sum;
    }
    meet();
}

// Element i of out is the sum, in order, of the elements of v on its list; 0 of an empty one. Where a
// list begins in places is told by starts.
static __device__ __noinline__ void scatter(
    const REAL* __restrict__ v, REAL* __restrict__ out, const int* __restrict__ starts,
    const int* __restrict__ places, int size, int member
) {
    for (int i = member; i < size; i += TEAM) {
        const int first = starts[i], last = starts[i + 1];
        REAL sum = first < last ? v[places[first] * WIDTH] : REAL(0);
        for (int k = first + 1; k < last; ++k) sum = add(sum, v[places[k] * WIDTH]);
        out[i * WIDTH] = sum;
    }
}

// Some rows from (i, w) on, one after another in i, of what multiply makes.
template <int rows>
__device__ __forceinline__ void multiply_rows(
    const REAL* __restrict__ v, REAL* __restrict__ out, const REAL* __restrict__ matrix, int columns,
    int across, int along, int width, int i, int w
) {
    const REAL* const row = matrix + (long long)i * across;
    REAL sums[rows];
#pragma unroll
    for (int r = 0; r < rows; ++r) sums[r] = sub(row[r * across], row[r * across]);
#pragma unroll 4
    for (int j = 0; j < columns; ++j) {
        const REAL x = v[(j * width + w) * WIDTH];
#pragma unroll
        for (int r = 0; r < rows; ++r) sums[r] = add(sums[r], mul(row[r * across + j * along], x));
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) out[((i + r) * width + w) * WIDTH] = sums[r];
}

// Row (i, w) of out is the sum over j, in order, of element (i, j) of the matrix times row (j, w) of v.
// That element lies at i * across + j * along.
static __device__ __noinline__ void multiply(
    const REAL* __restrict__ v, REAL* __restrict__ out, const REAL* __restrict__ matrix, int rows,
    int columns, int across, int along, int width, int member
) {
    constexpr int SOME = 4;  // rows for which an element of v is read once, where all have work so
    const int groups = rows * width >= SOME * TEAM ? rows / SOME : 0;
    for (int k = member; k < groups * width; k += TEAM)
        multiply_rows<SOME>(
            v, out, matrix, columns, across, along, width, k / width * SOME, k % width
        );
    for (int k = groups * SOME * width + member; k < rows * width; k += TEAM)
        multiply_rows<1>(v, out, matrix, columns, across, along, width, k / width, k % width);
}

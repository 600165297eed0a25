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

// What is left of a number without the products of a's and b's, in order, a step apart each.
__device__ __forceinline__ REAL less_products(
    REAL rest, const REAL* a, int step_a, const REAL* b, int step_b, int count
) {
    for (int k = 0; k < count; ++k)
        rest = sub(rest, mul(a[k * step_a * WIDTH], b[k * step_b * WIDTH]));
    return rest;
}

// The lower factor of a matrix, column by column, in the order of core's cholesky.
static __device__ __noinline__ void cholesky(const REAL* matrix, REAL* out, int size, int member) {
    for (int j = 0; j < size; ++j) {
        const REAL* const row = out + j * size * WIDTH;
        meet();
        // Each member makes it for itself, so that none waits for another.
        const REAL pivot =
            root(less_products(matrix[(j * size + j) * WIDTH], row, 1, row, 1, j));
        for (int i = member; i < size; i += TEAM) {
            const int at = i * size + j;
            const auto left = [&] {
                return less_products(matrix[at * WIDTH], out + i * size * WIDTH, 1, row, 1, j);
            };
            out[at * WIDTH] = i < j ? REAL(0) : i == j ? pivot : quotient(left(), pivot);
        }
    }
}

// The derivative by a matrix, from that by its factor, in the order of core's cholesky_back. Until the
// end the diagonal holds twice the derivative.
static __device__ __noinline__ void cholesky_back(
    const REAL* lower, const REAL* slope, REAL* out, int size, int member
) {
    for (int j = size - 1; j >= 0; --j) {
        const int below = (j + 1) * size + j, left = size - 1 - j;
        const REAL pivot = lower[(j * size + j) * WIDTH];
        const REAL* const column = lower + below * WIDTH;
        meet();
        for (int i = member; i < size; i += TEAM) {
            if (i == j) continue;
            REAL rest = i < j ? REAL(0) : slope[(i * size + j) * WIDTH];
            if (i > j) {  // the part that is done is symmetric: along a row, and then down a column
                const REAL* const along = out + (i * size + j + 1) * WIDTH;
                rest = less_products(rest, along, 1, column, size, i - j);
                const REAL* const down = out + ((i + 1) * size + i) * WIDTH;
                rest = less_products(
                    rest, down, size, column + (i - j) * size * WIDTH, size, size - 1 - i
                );
                rest = quotient(rest, pivot);
            }
            out[(i * size + j) * WIDTH] = rest;
        }
        meet();
        if (member == 0) {
            const REAL rest = slope[(j * size + j) * WIDTH];
            out[(j * size + j) * WIDTH] = quotient(
                less_products(rest, out + below * WIDTH, size, column, size, left), pivot
            );
        }
    }
    meet();
    for (int i = member; i < size; i += TEAM) {
        REAL& twice = out[(i * size + i) * WIDTH];
        twice = mul(twice, REAL(0.5));
    }
}

// The X of L X = right, of so many columns, or of the transposed L, in the order of core's solve.
template <bool is_transposed>
static __device__ __noinline__ void solve(
    const REAL* lower, const REAL* right, REAL* out, int size, int member, int width
) {
    for (int k = member; k < size * width; k += TEAM) out[k * WIDTH] = right[k * WIDTH];
    for (int done = 0; done < size; ++done) {
        const int i = is_transposed ? size - 1 - done : done;
        const REAL pivot = lower[(i * size + i) * WIDTH];
        REAL* const row = out + i * width * WIDTH;
        meet();
        for (int w = member; w < width; w += TEAM)
            row[w * WIDTH] = quotient(row[w * WIDTH], pivot);
        meet();
        for (int k = member; k < (size - 1 - done) * width; k += TEAM) {
            const int r = (is_transposed ? 0 : done + 1) + k / width, w = k % width;
            const REAL factor = lower[(is_transposed ? i * size + r : r * size + i) * WIDTH];
            REAL& rest = out[(r * width + w) * WIDTH];
            rest = sub(rest, mul(factor, row[w * WIDTH]));
        }
    }
}

// Neighbouring chains' numbers, read and written at once.
template <int n> struct __align__(n * sizeof(REAL)) Together { REAL of[n]; };

// Of multiply: some rows from row i on, for some chains from v's and out's on.
template <int rows, int chains>
__device__ __forceinline__ void multiply_some(
    const REAL* __restrict__ v, REAL* __restrict__ out, const REAL* __restrict__ row, int columns,
    int across, int along, int step
) {
    Together<chains> sums[rows];
#pragma unroll
    for (int r = 0; r < rows; ++r)
#pragma unroll
        for (int c = 0; c < chains; ++c) sums[r].of[c] = REAL(0);
#pragma unroll 2
    for (int j = 0; j < columns; ++j) {
        const Together<chains> x = *(const Together<chains>*)(v + j * step);
#pragma unroll
        for (int r = 0; r < rows; ++r) {
            const REAL m = row[r * across + j * along];
#pragma unroll
            for (int c = 0; c < chains; ++c) sums[r].of[c] = add(sums[r].of[c], mul(m, x.of[c]));
        }
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) *(Together<chains>*)(out + r * step) = sums[r];
}

// Row (i, w) of out is the sum over j, in order, of element (i, j) of the matrix times row (j, w) of v.
// That element lies at i * across + j * along. The threads of a block share the work for its chains,
// so that an element of the matrix is read once for several.
static __device__ __noinline__ void multiply(
    const REAL* v, REAL* out, const REAL* matrix, int rows, int columns, int across, int along,
    int width
) {
    constexpr int CHAINS = TEAM == 1 ? 1 : WIDTH < 4 ? WIDTH : 4, PARTS = WIDTH / CHAINS, ROWS = 4;
    const int thread = (int)threadIdx.x, c = thread % WIDTH, step = width * WIDTH;
    // Several rows at once where all threads have work so.
    const int groups = rows * width >= ROWS * CHAINS * TEAM ? rows / ROWS : 0;
    const auto place = [&](int w, int part) { return w * WIDTH + part * CHAINS - c; };
    for (int k = thread; k < groups * width * PARTS; k += TEAM * WIDTH) {
        const int part = k % PARTS, w = k / PARTS % width, i = k / PARTS / width * ROWS;
        multiply_some<ROWS, CHAINS>(
            v + place(w, part), out + place(w, part) + i * step, matrix + i * across, columns,
            across, along, step
        );
    }
    for (int k = thread; k < (rows - groups * ROWS) * width * PARTS; k += TEAM * WIDTH) {
        const int part = k % PARTS, w = k / PARTS % width, i = groups * ROWS + k / PARTS / width;
        multiply_some<1, CHAINS>(
            v + place(w, part), out + place(w, part) + i * step, matrix + i * across, columns,
            across, along, step
        );
    }
}

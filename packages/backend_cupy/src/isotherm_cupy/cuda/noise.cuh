// isotherm.noise transcribed: the same operations in the same order, each rounded once. The
// polynomials minus_two_log32(t) .. cosine64(z) and the constants are printed by source.py from
// the tables of isotherm.noise.

// add, mul, ... round to nearest and are never contracted into an fma.
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float quotient(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float root(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ double sub(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double quotient(double a, double b) { return __ddiv_rn(a, b); }
__device__ __forceinline__ double root(double a) { return __dsqrt_rn(a); }

POLYNOMIALS

struct Words { unsigned w0, w1, w2, w3; };

// Philox4x32-10: Salmon, Moraes, Dror and Shaw, SC'11.
__device__ __forceinline__ Words philox(Words c, unsigned k0, unsigned k1) {
#pragma unroll
    for (int round = 0; round < PHILOX_ROUNDS; ++round) {
        const unsigned long long p0 = (unsigned long long)c.w0 * PHILOX_M0;
        const unsigned long long p1 = (unsigned long long)c.w2 * PHILOX_M1;
        c = {(unsigned)(p1 >> 32) ^ c.w1 ^ k0, (unsigned)p1,
             (unsigned)(p0 >> 32) ^ c.w3 ^ k1, (unsigned)p0};
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    return c;
}

// -a where the highest bit is set, else a.
__device__ __forceinline__ float turned(float a, unsigned bits) {
    return __int_as_float(__float_as_int(a) ^ (int)(bits & (1u << 31)));
}

// Two normals from a word for the radius and one for the angle.
__device__ __forceinline__ void box_muller(unsigned u, unsigned v, float& even, float& odd) {
    const float x = add(__uint2float_rn(u), 0.5f);
    const int bits = __float_as_int(x) - SMALLEST32;
    const float e = __int2float_rn((bits >> 23) - 32);
    const float t = sub(__int_as_float((bits & 0x7fffff) + SMALLEST32), 1.0f);
    const float r = root(add(mul(minus_two_log32(t), t), mul(e, MINUS_TWO_LOG_OF_2_32)));
    // The nearest quarter turn's number is in q's two highest bits; where v lies in it, with a sign,
    // is in v's lower thirty, here read four times as large.
    const unsigned q = v + (1u << 29);
    const float a = mul(__int2float_rn((int)(v << 2)), RADIANS32 / 4);
    const float z = mul(a, a);
    float s = add(mul(mul(sine32(z), z), a), a);
    float c = add(mul(cosine32(z), z), 1.0f);
    if ((int)(2 * v + (1u << 30)) < 0) { const float swapped = s; s = c; c = swapped; }
    even = mul(r, turned(c, q + (1u << 30)));
    odd = mul(r, turned(s, q));
}

__device__ __forceinline__ void box_muller(
    unsigned long long u, unsigned long long v, double& even, double& odd
) {
    const double x = add(__ull2double_rn(u), 0.5);
    const long long bits = __double_as_longlong(x) - SMALLEST64;
    const double e = __int2double_rn((int)(bits >> 52) - 53);
    const double t =
        sub(__longlong_as_double((bits & 0xfffffffffffffLL) + SMALLEST64), 1.0);
    const double y = quotient(t, add(t, 2.0));
    const double r =
        root(add(mul(minus_two_log64(mul(y, y)), y), mul(e, MINUS_TWO_LOG_OF_2_64)));
    const long long q = (long long)((v + (1ULL << 50)) >> 51);
    const double a = mul(__ll2double_rn((long long)v - (q << 51)), RADIANS64);
    const double z = mul(a, a);
    double s = add(mul(mul(sine64(z), z), a), a);
    double c = add(mul(cosine64(z), z), 1.0);
    if (q & 1) { const double swapped = s; s = c; c = swapped; }
    even = mul(r, ((q + 1) & 2) ? -c : c);
    odd = mul(r, (q & 2) ? -s : s);
}

// The normals of one block of steps, for one coordinate of one chain.
__device__ __forceinline__ void normals(Words w, float* z) {
    box_muller(w.w0, w.w1, z[0], z[1]);
    box_muller(w.w2, w.w3, z[2], z[3]);
}

__device__ __forceinline__ void normals(Words w, double* z) {
    const unsigned long long u = (unsigned long long)w.w0 << 21 | w.w1 >> 11;
    const unsigned long long v = (unsigned long long)w.w2 << 21 | w.w3 >> 11;
    box_muller(u, v, z[0], z[1]);
}

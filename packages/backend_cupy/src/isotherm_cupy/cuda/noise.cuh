// isotherm.backend.noise transcribed: the same operations in the same order, each rounded once. The
// polynomials minus_two_log32(t) .. cosine64(z) and the constants are printed by source.py from
// the tables of isotherm.backend.noise.

// add, mul, ... round to nearest and are never contracted into an fma; fused is one.
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
__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

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

// 1/sqrt(a) to about 22 bits by the card's one instruction for it; a build for a host has its own.
#ifndef RECIPROCAL_ROOT
#define RECIPROCAL_ROOT(y, a) asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(a))
#endif

// root(a) for zero and for a between 2^-100 and 2^100: there this is all that root(a) does, which
// first branches to a function for other numbers.
__device__ __forceinline__ float branchless_root(float a) {
    float y;
    RECIPROCAL_ROOT(y, fmaxf(a, 0x1p-100f));
    const float guess = mul(a, y);
    return fused(fused(-guess, guess, a), mul(y, 0.5f), guess);
}

// -2 ln(x / 2^32)
__device__ __forceinline__ float minus_two_log(float x) {
    const int bits = __float_as_int(x);
    // The exponent of x / 2^32 where a float has it: a multiple of 2^23, so that a product with e
    // is rounded as one with the exponent is.
    const int e = (bits - SMALLEST32 - (32 << 23)) & ~0x7fffff;
    const float t = sub(__int_as_float(bits - e - (32 << 23)), 1.0f);
    const float log_of_2 = mul(__int2float_rn(e), MINUS_TWO_LOG_OF_2_32 * 0x1p-23f);
    return add(mul(minus_two_log32(t), t), log_of_2);
}

// -2 ln(x / 2^53)
__device__ __forceinline__ double minus_two_log(double x) {
    const long long bits = __double_as_longlong(x) - SMALLEST64;
    const double e = __int2double_rn((int)(bits >> 52) - 53);
    const double t =
        sub(__longlong_as_double((bits & 0xfffffffffffffLL) + SMALLEST64), 1.0);
    const double y = quotient(t, add(t, 2.0));
    return add(mul(minus_two_log64(mul(y, y)), y), mul(e, MINUS_TWO_LOG_OF_2_64));
}

// -2 ln((w + 1/2) / 2^32), of the type of the second argument.
__device__ __forceinline__ float minus_two_log_of_word(unsigned w, float) {
    return minus_two_log(add(__uint2float_rn(w), 0.5f));
}
__device__ __forceinline__ double minus_two_log_of_word(unsigned w, double) {
    return minus_two_log(mul(add(__ull2double_rn(w), 0.5), 0x1p21));
}

// Two normals from a word for the radius and one for the angle.
__device__ __forceinline__ void box_muller(unsigned u, unsigned v, float& even, float& odd) {
    const float r = branchless_root(minus_two_log_of_word(u, 0.0f));
    // The nearest quarter turn's number is in q's two highest bits; where v lies in it, with a sign,
    // is in v's lower thirty, here read four times as large.
    const unsigned q = v + (1u << 29);
    const float a = mul(__int2float_rn((int)(v << 2)), RADIANS32 / 4);
    const float z = mul(a, a);
    const float s = add(mul(mul(sine32(z), z), a), a);
    const float c = add(mul(cosine32(z), z), 1.0f);
    const bool is_odd = (int)(2 * v + (1u << 30)) < 0;  // q's second bit, as the sign of 2q
    const float turned = __int_as_float(__float_as_int(r) ^ (int)(q & (1u << 31)));
    even = mul(turned, is_odd ? -s : c);
    odd = mul(turned, is_odd ? c : s);
}

__device__ __forceinline__ void box_muller(
    unsigned long long u, unsigned long long v, double& even, double& odd
) {
    const double r = root(minus_two_log(add(__ull2double_rn(u), 0.5)));
    const long long q = (long long)((v + (1ULL << 50)) >> 51);
    const double a = mul(__ll2double_rn((long long)v - (q << 51)), RADIANS64);
    const double z = mul(a, a);
    const double s = add(mul(mul(sine64(z), z), a), a);
    const double c = add(mul(cosine64(z), z), 1.0);
    const double turned = (q & 2) ? -r : r;
    even = mul(turned, (q & 1) ? -s : c);
    odd = mul(turned, (q & 1) ? c : s);
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

// Two of them: of the pair's number.
__device__ __forceinline__ void pair_of_normals(Words w, int pair, float* z) {
    box_muller(pair ? w.w2 : w.w0, pair ? w.w3 : w.w1, z[0], z[1]);
}

__device__ __forceinline__ void pair_of_normals(Words w, int, double* z) { normals(w, z); }

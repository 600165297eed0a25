// isotherm.backend.functions transcribed: the same operations in the same order, each rounded once.
// The constants in capitals, the table QUARTER_DIGITS, the polynomials exp_tail(r) .. tanh_under(z)
// and less_quarters(x, n) are printed by source.py from the tables there.
namespace functions {

TABLES

__device__ __forceinline__ unsigned as_bits(float x) { return (unsigned)__float_as_int(x); }
__device__ __forceinline__ unsigned long long as_bits(double x) {
    return (unsigned long long)__double_as_longlong(x);
}
__device__ __forceinline__ float as_number(unsigned bits) { return __int_as_float((int)bits); }
__device__ __forceinline__ double as_number(unsigned long long bits) {
    return __longlong_as_double((long long)bits);
}

// To an integer, for numbers far below ROUNDER: about it numbers have the spacing 1.
__device__ __forceinline__ REAL rounded(REAL x) { return sub(add(x, ROUNDER), ROUNDER); }

// 2^n for an integer in the exponents' range; other bits are shifted out.
__device__ __forceinline__ REAL power(REAL n) {
    return as_number(as_bits(add(n, TO_POWER)) << FRACTION_BITS);
}

// x - n ln 2, where n is rounded(x / ln 2).
__device__ __forceinline__ REAL less_logarithms(REAL x, REAL n) {
    return sub(sub(x, mul(n, LN2_HIGH)), mul(n, LN2_LOW));
}

// exp(r) - 1
__device__ __forceinline__ REAL small_exp(REAL r) { return add(r, mul(exp_tail(r), mul(r, r))); }

__device__ __forceinline__ REAL exp(REAL x) {
    x = x < EXP_LOWEST ? EXP_LOWEST : x;  // both let NaN pass
    x = x > EXP_HIGHEST ? EXP_HIGHEST : x;
    const REAL n = rounded(mul(x, LOG2_E)), first = rounded(mul(n, REAL(0.5)));
    const REAL result = add(REAL(1), small_exp(less_logarithms(x, n)));
    return mul(mul(result, power(first)), power(sub(n, first)));
}

__device__ __forceinline__ REAL tanh(REAL x) {
    REAL y = fabs(x);
    y = y > TANH_RANGE ? TANH_RANGE : y;
    const REAL twice = add(y, y), n = rounded(mul(twice, LOG2_E)), z = mul(y, y);
    const REAL e = mul(add(REAL(1), small_exp(less_logarithms(twice, n))), power(n));
    const bool is_small = y < TANH_TURN;
    // One division for both.
    const REAL over = is_small ? mul(mul(y, z), tanh_over(z)) : REAL(2);
    const REAL under = is_small ? tanh_under(z) : add(e, REAL(1));
    const REAL result = sub(is_small ? y : REAL(1), quotient(over, under));
    return as_number(as_bits(result) ^ (as_bits(x) & SIGN_BIT));
}

__device__ __forceinline__ REAL log(REAL x) {
    const bool is_subnormal = x < SMALLEST_NORMAL;
    const Bits b = as_bits(is_subnormal ? mul(x, SUBNORMAL_SCALE) : x) + LIFT;
    REAL e = sub(as_number((b >> FRACTION_BITS) | CARRIER), OFFSET);
    e = is_subnormal ? sub(e, REAL(FRACTION_BITS + 1)) : e;
    const REAL f = sub(as_number((b & FRACTION) + ROOT_HALF), REAL(1));
    const REAL s = quotient(f, add(REAL(2), f));
    const REAL z = mul(s, s), h = mul(REAL(0.5), mul(f, f));
    const REAL tail = add(mul(s, add(h, mul(z, log_tail(z)))), mul(e, LN2_LOW));
    REAL result = sub(mul(e, LN2_HIGH), sub(sub(h, tail), f));
    const REAL infinity = as_number(INFINITE);
    result = x < infinity ? result : x;  // infinity and NaN
    return x <= REAL(0) ? (x == REAL(0) ? -infinity : sub(infinity, infinity)) : result;
}

struct Angle { Bits q; REAL a, low; };  // q π/2 + a + low
struct FarAngle { long long q; double a; };

// See _far_quarters of isotherm.backend.functions for what this is.
static __device__ __noinline__ FarAngle far_quarters(double x) {
    const long long bits = __double_as_longlong(x);
    const int e = (int)(bits >> 52) - (1075 - 42), k = e / 7;
    const long long m = ((bits & 0xfffffffffffffLL) | 1LL << 52) << (e - 7 * k);
    const long long low = m & DIGIT_MASK, high = m >> DIGIT_BITS;
    const int* w = QUARTER_DIGITS + k;
    const long long p6 = low * w[24];
    const long long p5 = low * w[20] + high * w[24] + (p6 >> DIGIT_BITS);
    const long long p4 = low * w[16] + high * w[20] + (p5 >> DIGIT_BITS);
    const long long p3 = low * w[12] + high * w[16] + (p4 >> DIGIT_BITS);
    const long long p2 = low * w[8] + high * w[12] + (p3 >> DIGIT_BITS);
    const long long p1 = low * w[4] + high * w[8] + (p2 >> DIGIT_BITS);
    const long long p0 = (low * w[0] + high * w[4] + (p1 >> DIGIT_BITS)) & DIGIT_MASK;
    const long long q = (p0 + (1LL << (DIGIT_BITS - 3))) >> (DIGIT_BITS - 2);
    const long long fraction = (p0 - (q << (DIGIT_BITS - 2))) * (DIGIT_MASK + 1);
    const double first = mul(__ll2double_rn(fraction + (p1 & DIGIT_MASK)), 0x1p-54);
    const double second = mul(__ll2double_rn(p2 & DIGIT_MASK), 0x1p-82);
    const long long low_digits = (p3 & DIGIT_MASK) << DIGIT_BITS | (p4 & DIGIT_MASK);
    const double third = mul(__ll2double_rn(low_digits), 0x1p-138);
    const double whole = add(first, second);
    const double rest = add(sub(second, sub(whole, first)), third);
    const double scaled = mul(whole, SPLITTER);
    const double top = sub(scaled, sub(scaled, whole)), tail = sub(whole, top);
    const double last = add(
        mul(tail, HALF_PI1), add(mul(whole, HALF_PI2), mul(rest, HALF_PI0 + HALF_PI1))
    );
    const double small = add(add(mul(top, HALF_PI1), mul(tail, HALF_PI0)), last);
    return {q, add(add(mul(top, HALF_PI0), small), sub(x, x))};
}

__device__ __forceinline__ Angle quarters(REAL x) {
    if (!(x <= FARTHEST)) {
        const FarAngle far = far_quarters(x);
        return {(Bits)far.q, (REAL)far.a, REAL(0)};
    }
    const REAL turns = add(mul(x, TWO_OVER_PI), ROUNDER);
    const REAL n = sub(turns, ROUNDER), b = less_quarters(x, n), product = mul(n, LAST_QUARTER);
    const REAL a = sub(b, product);
    return {as_bits(turns), a, sub(sub(sub(b, a), product), mul(n, SMALLEST_QUARTER))};
}

// The sine of an angle, with its sign flipped where the bit of it is set in `sign`.
__device__ __forceinline__ REAL wave(Angle angle, Bits sign) {
    const Bits q = angle.q;
    const REAL a = angle.a, z = mul(a, a);
    const REAL sine = add(a, add(mul(a, mul(z, sine_tail(z))), angle.low));
    const REAL cosine = add(sub(REAL(1), mul(REAL(0.5), z)), mul(mul(z, z), cosine_tail(z)));
    return as_number(as_bits(q & 1 ? cosine : sine) ^ (q & 2) << TO_SIGN ^ sign);
}

__device__ __forceinline__ REAL sin(REAL x) {
    return wave(quarters(fabs(x)), as_bits(x) & SIGN_BIT);
}

__device__ __forceinline__ REAL cos(REAL x) {
    Angle angle = quarters(fabs(x));
    angle.q += 1;
    return wave(angle, 0);
}

}  // namespace functions

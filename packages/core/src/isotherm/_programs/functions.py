"""Functions that are composed of others: written sequences, with their slopes.

An instruction may name one of them until its program is finished; then it is replaced by its
sequence of + - * /, square roots, exp, log and choices, so that no backend has to know it and all
give the same bits. The slope of a function is stated, not taken from its sequence, whose pieces
are accurate where its derivative's need not be.

Errors are within 4 units in the last place over the range that is said, where exp and log are
within 2.2. Coefficients stand lowest power first; ``tools/fit_special_functions.py`` derives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from isotherm._programs.program import Builder, Program, operations, reachable
from isotherm._programs.symbols import Symbol

#: On [1e-30, 1], relative error 1.6e-17.
_ERF_INNER = (
    1.1283791670955126,
    -0.3761263890318375,
    0.11283791670954879,
    -0.026866170645076792,
    0.0052239776248180145,
    -0.000854832698083379,
    0.0001205533111164271,
    -1.4925595266831182e-05,
    1.6461000484121368e-06,
    -1.6350312701054695e-07,
    1.4659775274047436e-08,
    -1.1372848856791674e-09,
    5.957176147748911e-11,
)
#: On [-0.4286, 0.4118], relative error 4.5e-16.
_ERF_OUTER = (
    0.2108063640611436,
    -0.37173673394897294,
    0.2517131932174488,
    -0.12503305237891782,
    0.03992253907546523,
    -0.003993701160123029,
    -0.0026423659518134547,
    0.0008759152875774328,
    0.0002283799633257643,
    -0.00012887483134837842,
    -3.4175718896856294e-05,
    1.8596747731144528e-05,
    7.499735050763299e-06,
    -2.2328516517555215e-06,
    -1.587633893127344e-06,
)
#: On [1e-30, 0.1716], relative error 1.4e-16.
_ARCTAN = (
    -0.3333333333333333,
    0.19999999999995513,
    -0.1428571428466518,
    0.11111111015146714,
    -0.0909090457366906,
    0.07692183087342026,
    -0.06664509989818045,
    0.058581362519061465,
    -0.05085383488842831,
    0.03922974453661223,
    -0.019174543572021332,
)
#: On [0.7, 2], relative error 1.5e-17.
_GAMMA_LOW = (
    0.5065533949558028,
    -0.1672000255105606,
    0.07963311897709792,
    -0.0439415199165702,
    0.026165194541840534,
    -0.016299198814588814,
    0.010455140925725777,
    -0.006844455400589366,
    0.004548196510756454,
    -0.0030571317174377865,
    0.002073659951111847,
    -0.0014170386319899682,
    0.0009742958258104917,
    -0.0006734556049430982,
    0.00046807727868335787,
    -0.00032631893587731816,
    0.0002256733699647844,
    -0.00015832382131257517,
    0.0001220660291097866,
    -8.624262661606957e-05,
    3.046393204779688e-05,
    -2.1315061248260605e-05,
    7.515264839593617e-05,
    -5.380983363711765e-05,
    -3.886702173553464e-05,
    2.8016783137554437e-05,
    3.8443823294927835e-05,
    -2.7598586688946342e-05,
)
#: On [2, 3], relative error 9.7e-17.
_GAMMA_HIGH = (
    0.5693657409458384,
    0.2675817993988097,
    -0.0448058426973846,
    0.0108770015141976,
    -0.0030951822936174096,
    0.0009610979285520405,
    -0.00031505925035239633,
    0.00010710021010234954,
    -3.735336940027229e-05,
    1.3275711130257407e-05,
    -4.786379987514225e-06,
    1.745641275403404e-06,
    -6.421417451955873e-07,
    2.353723932844072e-07,
    -8.772358424774663e-08,
    3.8720781951940836e-08,
    -1.4586003484400256e-08,
)
#: On [1, 3.5], relative error 7.8e-17.
_DIGAMMA = (
    0.7262427849760034,
    -0.21425737920543955,
    0.07913489881506561,
    -0.03176718895520533,
    0.013283979436527708,
    -0.005682519140204081,
    0.002463976119114537,
    -0.001077450198918129,
    0.00047370541864979516,
    -0.00020900529744515895,
    9.243287464637904e-05,
    -4.094307362380528e-05,
    1.8155445349416258e-05,
    -8.056340866409116e-06,
    3.5752281983118255e-06,
    -1.5878013207549583e-06,
    7.091112666888362e-07,
    -3.1504894378443397e-07,
    1.3286114535208903e-07,
    -5.903888206377212e-08,
    3.622217555252845e-08,
    -1.6097751510372075e-08,
    -3.3037128387354396e-09,
    1.4684102765024083e-09,
    7.49546231706933e-09,
    -3.3313074216568364e-09,
    -3.172623811798413e-09,
    1.410055709566379e-09,
    1.2641333315584761e-09,
    -5.618368965206223e-10,
    -2.6772878823248264e-10,
    1.1899056520270307e-10,
    3.257537909297003e-11,
    -1.4477943561253873e-11,
)
#: The zero of digamma, in parts.
_ROOT = (1.4616321325302124, 1.243815006546356e-08, -1.2654464444209374e-16)
_HALF_LOG_2_PI = 0.9189385332046728
#: B(2k) / (2k (2k - 1)), B being Bernoulli's numbers.
_STIRLING = (
    0.08333333333333333,
    -0.002777777777777778,
    0.0007936507936507937,
    -0.0005952380952380953,
    0.0008417508417508417,
    -0.0019175269175269176,
    0.00641025641025641,
    -0.029550653594771242,
)
#: B(2k) / 2k.
_ASYMPTOTIC = (
    0.08333333333333333,
    -0.008333333333333333,
    0.003968253968253968,
    -0.004166666666666667,
    0.007575757575757576,
    -0.021092796092796094,
    0.08333333333333333,
    -0.4432598039215686,
    3.0539543302701198,
    -26.456212121212122,
)


class Composed(NamedTuple):
    """A function of symbols.

    Attributes
    ----------
    sequence : callable
        Arguments → the function's value.
    slopes : callable
        (value, arguments) → its derivatives by each argument.
    """

    sequence: Callable[..., Symbol]
    slopes: Callable[..., tuple[Symbol | float, ...]]


def _where(condition: Symbol, a: Symbol | float, b: Symbol | float) -> Symbol:
    return condition.apply("where", condition, a, b)


def _polynomial(coefficients: Sequence[float], x: Symbol) -> Symbol:
    """By Horner's rule."""
    *rest, last = coefficients
    total: Symbol | float = last
    for c in reversed(rest):
        total = total * x + c
    assert isinstance(total, Symbol)
    return total


def _log1p(x: Symbol) -> Symbol:
    # What is lost in u = 1 + x comes back to first order (Higham, Accuracy and Stability of
    # Numerical Algorithms, 2nd ed., 2002, problem 1.5); there is nothing to come back at -1 and ∞.
    u = 1.0 + x
    lost = (x - (u - 1.0)) / u
    return u.log() + _where(lost == lost, lost, 0.0)  # false for NaN


def _expm1(x: Symbol) -> Symbol:
    # Kahan's: the errors of u - 1 and of log(u) cancel (Higham, section 1.14.1).
    u = x.exp()
    near = _where(u == 1.0, x, (u - 1.0) * (x / u.log()))
    return _where(abs(x) < 0.5, near, u - 1.0)


def _softplus(x: Symbol) -> Symbol:
    return x.apply("max", x, 0.0) + _log1p((-abs(x)).exp())


def _logaddexp(a: Symbol, b: Symbol) -> Symbol:
    gap = _where(a == b, 0.0, a - b)  # of two equal infinities, too
    return a.apply("max", a, b) + _log1p((-abs(gap)).exp())


def _expit(x: Symbol) -> Symbol:
    return 1.0 / (1.0 + (-x).exp())


def _log_expit(x: Symbol) -> Symbol:
    return -_softplus(-x)


def _arctan(x: Symbol) -> Symbol:
    # arctan(a) = π/2 - arctan(1/a) = π/4 + arctan((a - 1)/(a + 1)), so that √2 - 1 is the most.
    a = abs(x)
    is_large, is_middling = a > 1.0 + math.sqrt(2.0), a > math.sqrt(2.0) - 1.0
    above = _where(is_large, -1.0, _where(is_middling, a - 1.0, a))
    below = _where(is_large, a, _where(is_middling, a + 1.0, 1.0))
    t = above / below
    z = t * t
    base = _where(is_large, math.pi / 2, _where(is_middling, math.pi / 4, 0.0))
    angle = base + (t + t * (z * _polynomial(_ARCTAN, z)))
    return _where(x < 0.0, -angle, angle)


def _arctan2(y: Symbol, x: Symbol) -> Symbol:
    a, b = abs(x), abs(y)
    larger, smaller = a.apply("max", a, b), a.apply("min", a, b)
    ratio = smaller / _where(larger > 0.0, larger, 1.0)
    angle = _arctan(_where(a == b, _where(larger > 0.0, 1.0, 0.0), ratio))
    angle = _where(b > a, math.pi / 2 - angle, angle)
    angle = _where(x < 0.0, math.pi - angle, angle)
    return _where(y < 0.0, -angle, angle)


def _arcsin(x: Symbol) -> Symbol:
    return _arctan2(x, ((1.0 - x) * (1.0 + x)).sqrt())


def _arccos(x: Symbol) -> Symbol:
    return _arctan2(((1.0 - x) * (1.0 + x)).sqrt(), x)


def _arcsinh(x: Symbol) -> Symbol:
    a = abs(x)
    size = _log1p(a + a * (a / (1.0 + (1.0 + a * a).sqrt())))
    return _where(x < 0.0, -size, size)


def _arccosh(x: Symbol) -> Symbol:
    return _log1p((x - 1.0) + ((x - 1.0) * (x + 1.0)).sqrt())


def _arctanh(x: Symbol) -> Symbol:
    return 0.5 * _log1p(2.0 * x / (1.0 - x))


def _sinh(x: Symbol) -> Symbol:
    a = abs(x)
    e = _expm1(a)
    u = a.exp()
    size = _where(a < 1.0, 0.5 * (e + e / (e + 1.0)), 0.5 * u - 0.5 / u)
    return _where(x < 0.0, -size, size)


def _cosh(x: Symbol) -> Symbol:
    u = abs(x).exp()
    return 0.5 * u + 0.5 / u


def _hypot(x: Symbol, y: Symbol) -> Symbol:
    a, b = abs(x), abs(y)
    larger, smaller = a.apply("max", a, b), a.apply("min", a, b)
    ratio = smaller / _where(larger > 0.0, larger, 1.0)
    return larger * (1.0 + ratio * ratio).sqrt()


def _cbrt(x: Symbol) -> Symbol:
    a = abs(x)
    y = (a.log() / 3.0).exp()
    y = y - (y - a / (y * y)) / 3.0  # Newton's step doubles the digits
    y = _where(a > 0.0, _where(a < math.inf, y, a), 0.0)
    return _where(x < 0.0, -y, y)


def _sign(x: Symbol) -> Symbol:
    return _where(x > 0.0, 1.0, _where(x < 0.0, -1.0, x))


def _mod(a: Symbol, b: Symbol) -> Symbol:
    # The quotient is rounded before it is cut off, so that the rest may lie just outside.
    rest = a - (a / b).apply("floor", a / b) * b
    rest = _where((rest < 0.0), _where(b > 0.0, rest + b, rest), rest)
    rest = _where((rest > 0.0), _where(b < 0.0, rest + b, rest), rest)
    return _where(abs(rest) < abs(b), rest, 0.0)


def _pow(x: Symbol, p: Symbol) -> Symbol:
    """exp(p log |x|), with the sign that a whole p gives to a negative x."""
    power = p.builder.constant(p.index)
    if power is not None and power % 1.0:
        return (p * x.log()).exp()
    size = (p * abs(x).log()).exp()
    half = p * 0.5
    is_even = half == half.apply("floor", half)
    is_whole = p == p.apply("floor", p)
    signed = _where(is_even, size, _where(is_whole, -size, math.nan))
    return _where(p == 0.0, 1.0, _where(x < 0.0, signed, size))


def _pow_slopes(value: Symbol, x: Symbol, p: Symbol) -> tuple[Symbol, Symbol]:
    by_x = p * x.apply("pow", x, p - 1.0)
    return by_x, _where(value == 0.0, 0.0, value * abs(x).log())


def _erf(x: Symbol) -> Symbol:
    a = abs(x)
    a = a.apply("min", a, 6.0)  # from where erf is 1
    z = a * a
    tail = (-z).exp() * _polynomial(_ERF_OUTER, (a - 2.5) / (a + 2.5))
    size = _where(a < 1.0, a * _polynomial(_ERF_INNER, z), 1.0 - tail)
    return _where(x < 0.0, -size, size)


def _lgamma(x: Symbol) -> Symbol:
    """For x > 0; its zeros at 1 and 2 are factors of the polynomials, so that no digit is lost."""
    is_low, is_high, is_far = x < 0.7, x > 2.0, x >= 8.0
    low = _where(is_low, x + 1.0, x)
    near = (low - 1.0) * (low - 2.0) * _polynomial(_GAMMA_LOW, low - 1.35)
    # Γ(x) = (x - 1) (x - 2) ... y Γ(y) with y in [2, 3)
    product: Symbol | float = 1.0
    for k in range(1, 6):
        product = product * _where(x - float(k) >= 2.0, x - float(k), 1.0)
    y = _where(x >= 3.0, (x - x.apply("floor", x)) + 2.0, x)
    middle = (y - 2.0) * _polynomial(_GAMMA_HIGH, y - 2.5)
    log = _where(is_high, _where(is_far, x, product), x).log()
    z = 1.0 / x
    # Stirling's series (Abramowitz and Stegun, 6.1.41), in a form that loses less
    far = (x - 0.5) * (log - 1.0) + (_HALF_LOG_2_PI - 0.5 + z * _polynomial(_STIRLING, z * z))
    far = _where(x < math.inf, far, x)
    below = _where(is_low, near - log, near)
    return _where(is_far, far, _where(is_high, middle + log, below))


def _digamma(x: Symbol) -> Symbol:
    """For x > 0; its zero is a factor of the polynomial."""
    is_low, is_high = x < 1.0, x > 3.5
    low = _where(is_low, x + 1.0, x)
    near = (((low - _ROOT[0]) - _ROOT[1]) - _ROOT[2]) * _polynomial(_DIGAMMA, low - 2.25)
    below = _where(is_low, near - 1.0 / x, near)
    # ψ(x) = ψ(x + 6) - Σ 1/(x + k), the six terms paired from both ends as one fraction
    is_far = x >= 8.0
    u = x * (x + 5.0)
    v, w = u + 4.0, u + 6.0
    shift = (2.0 * x + 5.0) * ((v * w + u * w) + u * v) / (u * (v * w))
    t = _where(is_far, x, x + 6.0)
    z = 1.0 / t
    # Abramowitz and Stegun, 6.3.18
    far = t.log() - (0.5 * z + (z * z) * _polynomial(_ASYMPTOTIC, z * z))
    far = _where(x < math.inf, far, x)
    return _where(is_high, _where(is_far, far, far - shift), below)


def _no_slope(value: Symbol, *args: Symbol) -> tuple[float, ...]:
    return (0.0,) * len(args)


def _guarded(h: Symbol) -> Symbol:
    """A length to divide by: at 0, where it has a kink, the slopes become 0."""
    return _where(h > 0.0, h, 1.0)


COMPOSED: Mapping[str, Composed] = {
    "log1p": Composed(_log1p, lambda v, x: (1.0 / (1.0 + x),)),
    "expm1": Composed(_expm1, lambda v, x: (x.exp(),)),
    "softplus": Composed(_softplus, lambda v, x: (x.apply("expit", x),)),
    "logaddexp": Composed(
        _logaddexp, lambda v, a, b: (a.apply("expit", a - b), a.apply("expit", b - a))
    ),
    "expit": Composed(_expit, lambda v, x: (v * x.apply("expit", -x),)),
    "log_expit": Composed(_log_expit, lambda v, x: (x.apply("expit", -x),)),
    "arctan": Composed(_arctan, lambda v, x: (1.0 / (1.0 + x * x),)),
    "arctan2": Composed(_arctan2, lambda v, y, x: (x / (x * x + y * y), -(y / (x * x + y * y)))),
    "arcsin": Composed(_arcsin, lambda v, x: (1.0 / ((1.0 - x) * (1.0 + x)).sqrt(),)),
    "arccos": Composed(_arccos, lambda v, x: (-1.0 / ((1.0 - x) * (1.0 + x)).sqrt(),)),
    "arcsinh": Composed(_arcsinh, lambda v, x: (1.0 / (1.0 + x * x).sqrt(),)),
    "arccosh": Composed(_arccosh, lambda v, x: (1.0 / ((x - 1.0) * (x + 1.0)).sqrt(),)),
    "arctanh": Composed(_arctanh, lambda v, x: (1.0 / ((1.0 - x) * (1.0 + x)),)),
    "sinh": Composed(_sinh, lambda v, x: (x.apply("cosh", x),)),
    "cosh": Composed(_cosh, lambda v, x: (x.apply("sinh", x),)),
    "hypot": Composed(_hypot, lambda v, x, y: (x / _guarded(v), y / _guarded(v))),
    "cbrt": Composed(_cbrt, lambda v, x: (1.0 / (3.0 * (v * v)),)),
    "sign": Composed(_sign, _no_slope),
    "mod": Composed(_mod, lambda v, a, b: (1.0, -(a / b).apply("floor", a / b))),
    "pow": Composed(_pow, _pow_slopes),
    "erf": Composed(_erf, lambda v, x: (2.0 / math.sqrt(math.pi) * (-(x * x)).exp(),)),
    "lgamma": Composed(_lgamma, lambda v, x: (x.apply("digamma", x),)),
    "digamma": Composed(_digamma, _no_slope),
}


def without_composed(builder: Builder, outputs: Sequence[int]) -> tuple[Builder, list[int]]:
    """The program with the sequences in the place of composed functions, and its outputs there."""
    if not any(op in COMPOSED for op in operations(builder.instructions)):
        return builder, list(outputs)
    plain = Builder()
    number: dict[int, int] = {}
    for index in reachable(builder.instructions, outputs):
        op = (i := builder.instructions[index]).op
        args = tuple(number[arg] for arg in i.args)
        if op in COMPOSED:
            number[index] = COMPOSED[op].sequence(*(Symbol(plain, arg) for arg in args)).index
        elif op == "scan":
            number[index] = plain.scan(replace(i.value, step=_step(i.value.step)), args)
        else:
            number[index] = plain.again(i, args, builder.shapes[index])
    return plain, [number[output] for output in outputs]


def _step(step: Program) -> Program:
    """The step of a recursion, without composed functions."""
    builder = Builder()
    for one in step.instructions:
        builder.write(one)
    plain, outputs = without_composed(builder, step.gradient)
    return plain.program(step.name, step.dim, (), outputs[0], outputs)

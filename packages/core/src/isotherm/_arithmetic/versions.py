"""What every bit of a run depends on besides its plan. A change of any bit is a new version."""

#: Of the noise stream: which words belong to which chain, coordinate and step, and what a normal is
#: made of.
STREAM_VERSION = 1

#: Of the arithmetic: the functions of formulas, the order of sums, the samplers' steps.
ARITHMETIC_VERSION = 1

"""What Triton compiles, carried out without a card: PTX on NumPy, a block's threads in step.

Only what our kernels compile to is known: another instruction is an error, as is an access outside
of the tensors that a kernel is given. Branches are taken by all threads or none.
"""

import re

import numpy as np
import torch

_LINE = re.compile(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.]*)\s*(.*);")
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")
_N_THREADS = 128
_THREADS = np.arange(_N_THREADS, dtype=np.uint64)
_FLOAT = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt,
    "neg": np.negative, "abs": np.abs, "max": np.fmax, "min": np.fmin,
}  # fmt: skip
_EXACT = ("neg", "abs", "max", "min")
_INTEGER = {
    "add": np.add, "sub": np.subtract, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "shl": np.left_shift, "shr": np.right_shift, "neg": np.negative,
}  # fmt: skip
_COMPARE = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "neu": np.not_equal, "leu": lambda a, b: ~(a > b),
    "ltu": lambda a, b: ~(a >= b), "gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b),
}  # fmt: skip


def launch(ptx, n_blocks, given):
    """A kernel on tensors in host memory and numbers."""
    memory = _Memory()
    given = [memory.add(one) if torch.is_tensor(one) else one for one in given]
    parameters = [int(one) % 2**64 for one in given]
    lines = [
        line.partition("//")[0].strip()
        for line in ptx.partition(".entry")[2].partition("{")[2].splitlines()
    ]
    labels = {line[:-1]: k for k, line in enumerate(lines) if line.endswith(":")}
    for block in range(n_blocks):
        with np.errstate(all="ignore"):
            _Block(memory, parameters, block).run(lines, labels)


class _Memory:
    """The tensors' own memory, by their addresses."""

    def __init__(self):
        self.spans = []

    def add(self, tensor):
        storage = tensor.untyped_storage()
        held = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        self.spans.append((storage.data_ptr(), held))
        return tensor.data_ptr()

    def cells(self, addresses, size):
        """Of each address in use: the tensor's bytes, and which of them."""
        for address in map(int, addresses):
            start, held = next(
                one for one in self.spans if one[0] <= address <= one[0] + len(one[1]) - size
            )
            yield held[address - start : address - start + size]


class _Block:
    def __init__(self, memory, parameters, number):
        self.memory, self.parameters, self.number = memory, parameters, number
        self.shared = np.zeros(2**16, np.uint8)
        self.registers = {}

    def run(self, lines, labels):
        k = 0
        while True:
            line, k = lines[k], k + 1
            found = _LINE.fullmatch(line)
            if found is None or line.startswith("."):
                assert not line or line.startswith(".") or line[:-1] in labels, line
                continue
            negated, guard, name, rest = found.groups()
            active = np.ones(_N_THREADS, bool)
            if guard is not None:
                active = self.registers[guard] ^ bool(negated)
            if name == "ret":
                return
            if name.startswith("bra"):
                assert active.all() or not active.any()
                k = labels[rest] if active[0] else k
            elif name != "bar.sync":
                self.carry_out(name.split("."), _OPERAND.findall(rest), active)

    def carry_out(self, name, operands, active):
        op, kind = name[0], name[-1]
        match op:
            case "ld" if name[1] == "param":
                number = int(operands[1].rpartition("_")[2][:-1])
                self.write(operands[0], self.parameters[number], kind)
            case "ld" | "st" | "stmatrix":
                self.move(name, operands, active)
            case "mov":
                self.write(operands[0], self.packed(operands[1], kind), kind)
            case "setp":
                a, b = (self.read(one, kind) for one in operands[1:])
                self.registers[operands[0]] = _COMPARE[name[1]](a, b)
            case "selp":
                a, b = (self.read(one, kind) for one in operands[1:3])
                self.write(operands[0], np.where(self.registers[operands[3]], a, b), kind)
            case "cvt":
                value = self.read(operands[1], kind)
                if "ftz" in name:
                    value = np.where(np.abs(value) < np.finfo(value.dtype).tiny, 0 * value, value)
                if name[1] == "rmi":
                    value = np.floor(value)
                assert name[-2][0] != "f" or name[1] in ("rn", "rmi")
                self.write(operands[0], value.astype(_numpy(name[-2])), name[-2])
            case "mul" | "mad" if kind[0] != "f":
                a, b = (self.read(one, kind) for one in operands[1:3])
                wide = kind[0] + str(2 * int(kind[1:])) if kind[1:] == "32" else kind
                product = a.astype(_numpy(wide)) * b.astype(_numpy(wide))
                if name[1] == "hi":
                    assert kind == "u32"
                    product >>= 32
                wide = wide if name[1] == "wide" else kind
                if op == "mad":
                    product = product + self.read(operands[3], wide).astype(product.dtype)
                self.write(operands[0], product, wide)
            case "div" | "rem" if kind[0] != "f":
                a, b = (self.read(one, kind) for one in operands[1:])
                quotient = np.abs(a) // np.abs(b) * np.where((a < 0) == (b < 0), 1, -1)
                self.write(operands[0], quotient if op == "div" else a - quotient * b, kind)
            case _:
                if name == ["sqrt", "rn", "ftz", "f32"]:  # of Triton before 3.6
                    value = self.read(operands[1], kind)
                    assert not ((value > 0) & (value < np.finfo(np.float32).tiny)).any()
                elif kind[0] == "f":
                    assert name[1:-1] == ([] if op in _EXACT else ["rn"]), name
                known = _FLOAT if kind[0] == "f" else _INTEGER
                values = [self.read(one, kind) for one in operands[1:]]
                if op in ("shl", "shr"):
                    values[1] = self.read(operands[2], "u32").astype(values[0].dtype)
                self.write(operands[0], known[op](*values), kind)

    def move(self, name, operands, active):
        """Loads, stores, and the stores of 8 x 8 pairs of bytes by which a warp turns rows."""
        place, registers = operands if name[0] != "ld" else operands[::-1]
        base, _, offset = (part.strip() for part in place.strip("[] ").partition("+"))
        addresses = self.read(base, "u64") + np.uint64(int(offset or 0))
        registers = [one.strip() for one in registers.strip("{} ").split(",")]
        size = int(name[-1][1:]) // 8
        if name[0] == "stmatrix":
            for j, register in enumerate(registers):
                values = self.read(register, "u32")
                for t in range(_N_THREADS):
                    row = addresses[t // 32 * 32 + 8 * j + t % 32 // 4] + np.uint64(t % 4 * 4)
                    self.shared[int(row) : int(row) + 4] = values[t : t + 1].view(np.uint8)
            return
        for j, register in enumerate(registers):
            at = (addresses + np.uint64(size * j))[active]
            if "shared" in name:
                cells = [self.shared[int(one) : int(one) + size] for one in at]
            else:
                cells = list(self.memory.cells(at, size))
            if name[0] == "ld":
                loaded = self.read(register, f"u{8 * size}", np.zeros(_N_THREADS, np.uint64)).copy()
                loaded[active] = [one.view(f"u{size}")[0] for one in cells]
                self.write(register, loaded, f"u{8 * size}")
            else:
                values = self.read(register, f"u{8 * size}")[active]
                for cell, value in zip(cells, values, strict=True):
                    cell[:] = np.array([value]).view(np.uint8)

    def packed(self, operand, kind):
        if not operand.startswith("{"):
            return self.read(operand, "u64")
        half = int(kind[1:]) // 2
        low, high = (self.read(one.strip(), f"u{half}") for one in operand.strip("{}").split(","))
        return low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(half)

    def read(self, operand, kind, default=None):
        special = {"%tid.x": _THREADS, "%ctaid.x": self.number, "global_smem": 0}
        if operand in special:
            bits = special[operand]
        elif operand.startswith("%"):
            bits = self.registers.get(operand, default)
        elif operand.startswith(("0f", "0d")):
            bits = int(operand[2:], 16)
        else:
            bits = int(operand, 0) % 2**64
        bits = np.broadcast_to(np.asarray(bits, np.uint64), (_N_THREADS,))
        return bits.astype(f"u{int(kind[1:]) // 8}").view(_numpy(kind))

    def write(self, operand, values, kind):
        values = np.broadcast_to(np.asarray(values), (_N_THREADS,))
        if operand.startswith("{"):
            half, registers = int(kind[1:]) // 2, operand.strip("{}").split(",")
            for register, shift in zip(registers, (0, half), strict=True):
                part = values.astype(np.uint64) >> np.uint64(shift)
                self.write(register.strip(), part, f"b{half}")
            return
        if values.dtype.kind == "f":
            values = np.ascontiguousarray(values).view(f"u{values.itemsize}")
        size = int(kind[1:]) // 8
        self.registers[operand] = values.astype(f"u{size}").astype(np.uint64)


def _numpy(kind):
    return np.dtype(f"{ {'b': 'u', 's': 'i'}.get(kind[0], kind[0]) }{int(kind[1:]) // 8}")

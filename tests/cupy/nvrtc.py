"""The real compiler, which needs no GPU."""

from cupy.cuda import nvrtc

from isotherm_cupy.nvrtc import OPTIONS


def compiled(source, architecture):
    """The cubin, the PTX and what the assembler says of registers; NVRTCError with its ``log``."""
    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    options = [*OPTIONS, f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError as error:
        error.log = nvrtc.getProgramLog(program)
        error.add_note(error.log)
        raise
    return nvrtc.getCUBIN(program), nvrtc.getPTX(program), nvrtc.getProgramLog(program)

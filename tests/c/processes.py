"""Python's ways to start processes, with the library by ctypes: processes.py LIBRARY MODEL fork|fork-first|spawn|posix-spawn."""

import ctypes
import json
import multiprocessing
import os
import sys

FORKED = 21
PROMPT = [1, 5, 9, 14, 3, 7, 2, 11]
# Starting Python and the library, on a machine that does much else.
PATIENCE = 120
# More than any options take: the library sees by the size what it may write.
ROOM = 1024


class Str(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class Options(ctypes.Structure):
    """Every options struct begins like this."""

    _fields_ = [("struct_size", ctypes.c_size_t), ("json", Str), ("rest", ctypes.c_char * (ROOM - 24))]


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        for name in ("engine_new", "load", "generation_new", "generation_next", "task_wait"):
            getattr(self.c, f"mlxe_{name}").restype = ctypes.c_void_p
        self.c.mlxe_error_message.restype = ctypes.c_char_p

    def code(self, name, *arguments):
        """Calls a function and returns the code of its error."""
        error = ctypes.c_void_p(getattr(self.c, f"mlxe_{name}")(*arguments))
        code = self.c.mlxe_error_code(error)
        self.said = self.c.mlxe_error_message(error)
        self.c.mlxe_error_free(error)
        return code

    def make(self, name, *arguments):
        """Calls a function that makes something."""
        made = ctypes.c_void_p()
        code = self.code(name, *arguments, ctypes.byref(made))
        assert code == 0, (name, code, self.said)
        return made

    def options(self, name, **values):
        options = Options()
        getattr(self.c, f"mlxe_{name}_init")(ctypes.byref(options), ctypes.c_size_t(ROOM))
        text = json.dumps(values).encode()
        options.json = Str(text, len(text))
        return options

    def engine(self):
        return self.make("engine_new", ctypes.byref(self.options("engine_options", device="cpu")))

    def generation(self, model):
        prompt = (ctypes.c_uint32 * len(PROMPT))(*PROMPT)
        options = self.options("generate_options", max_tokens=4, ignore_eos=True)
        return self.make("generation_new", model, prompt, ctypes.c_size_t(len(PROMPT)), ctypes.byref(options))

    def work(self, directory):
        """All of it: an engine, a model, some tokens."""
        engine = self.engine()
        options = self.options("load_options", directory=directory, without_tokenizer=True)
        model = self.make("load", engine, None, ctypes.byref(options), None)
        generation, event, events = self.generation(model), ctypes.c_void_p(), 0
        while True:
            assert self.code("generation_next", generation, ctypes.byref(event)) == 0, self.said
            if not event:
                break
            events += 1
        assert events > 4, events
        self.c.mlxe_generation_free(generation)
        return engine, model


def working(path, directory):
    Library(path).work(directory)


def refused(library, engine, model):
    """In a forked process: everything of the parent's says so at once."""
    made, prompt = ctypes.c_void_p(), (ctypes.c_uint32 * 1)(1)
    options = library.options("engine_options", device="cpu")
    assert library.code("engine_new", ctypes.byref(options), ctypes.byref(made)) == FORKED, library.said
    code = library.code("generation_new", model, prompt, ctypes.c_size_t(1), None, ctypes.byref(made))
    assert code == FORKED, (code, library.said)
    library.c.mlxe_model_free(model)
    library.c.mlxe_engine_free(engine)


def run(context, target, arguments):
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0, process.exitcode


def main():
    path, directory, what = sys.argv[1:]
    library = Library(path)
    if what == "work":
        library.work(directory)
    elif what == "fork-first":
        # Loaded, but without an engine.
        run(multiprocessing.get_context("fork"), working, (path, directory))
        library.work(directory)
    else:
        engine, model = library.work(directory)
        if what == "fork":
            run(multiprocessing.get_context("fork"), refused, (library, engine, model))
        elif what == "spawn":
            run(multiprocessing.get_context("spawn"), working, (path, directory))
        elif what == "posix-spawn":
            child = os.posix_spawn(sys.executable, [sys.executable, __file__, path, directory, "work"], os.environ)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        else:
            raise SystemExit(f"{what}?")
        # The parent goes on as if nothing had been.
        again = library.generation(model)
        library.c.mlxe_generation_free(again)
        library.c.mlxe_model_free(model)
        library.c.mlxe_engine_free(engine)


if __name__ == "__main__":
    main()

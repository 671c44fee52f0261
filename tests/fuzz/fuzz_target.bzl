"""Fuzzers whose corpus every test run replays."""

def fuzz_target(name, srcs, corpus, deps = [], data = [], tags = []):
    """A libFuzzer binary, and a test that runs its corpus without libFuzzer.

    Args:
      name: ends in "_fuzzer". The binary; needs --config=fuzz. The test is
        `name` with "_fuzzer" replaced by "_replay_test".
      srcs: define LLVMFuzzerTestOneInput.
      corpus: a filegroup of inputs.
      deps: as of cc_binary.
      data: what it reads besides.
      tags: of the test.
    """
    native.cc_library(
        name = name + "_lib",
        srcs = srcs,
        alwayslink = True,
        deps = deps,
    )
    native.cc_binary(
        name = name,
        linkopts = select({
            "//:fuzzing": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        data = data,
        tags = ["manual"],
        deps = [":" + name + "_lib"],
    )
    native.cc_test(
        name = name.replace("_fuzzer", "_replay_test"),
        size = "small",
        srcs = ["replay_main.cc"],
        args = ["$(rootpaths %s)" % corpus],
        data = [corpus] + data,
        tags = tags,
        deps = [":" + name + "_lib"],
    )

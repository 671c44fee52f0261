"""cc_test, and cc_test_library for its libraries: they compile in about half the time."""

# What a test compiles is run once: less time to compile is worth more than its speed,
# above all with ASan.
TEST_COPTS = select({
    "//tests/precompiled:asan": ["-O0"],
    "//conditions:default": ["-Og"],
})

# A header that does not fit is an error, by -Werror, and not a slow build.
_COPTS = TEST_COPTS + [
    "-Winvalid-pch",
    "-include",
    "$(BINDIR)/tests/precompiled/headers.h",
]
_DEPS = ["//tests/precompiled:headers"]

def cc_test_library(deps = [], **kwargs):
    native.cc_library(copts = _COPTS, deps = deps + _DEPS, **kwargs)

def cc_test(deps = [], **kwargs):
    native.cc_test(copts = _COPTS, deps = deps + _DEPS, **kwargs)

"""cc_library, cc_test and cc_test_library: they compile faster than Bazel's own.

Tests always use precompiled headers, of the system's libraries. Our libraries use them
with sanitizers and --config=opt: the default build shows whether a file includes what it
uses.
"""

# Half the time to compile with ASan, where speed matters least.
_SLOW_PACKAGES = ["client", "csi"]
ASAN_UNOPTIMIZED = select({
    "//third_party/precompiled:asan": ["-O0"],
    "//conditions:default": [],
})

# What reads the command line: it runs once, and CLI11's headers take long. In users'
# builds, by --config=opt, it is as fast as the rest.
_UNHURRIED_PACKAGES = ["client/cli", "client/cli/commands", "client/cli/output"]
_UNHURRIED = select({
    "//third_party/precompiled:asan": [],
    "//third_party/precompiled:opt": [],
    "//third_party/precompiled:tsan": [],
    "//conditions:default": ["-Og"],
})

# What a test compiles is run once: less time to compile is worth more than its speed,
# above all with ASan.
TEST_COPTS = select({
    "//third_party/precompiled:asan": ["-O0"],
    "//conditions:default": ["-Og"],
})

# A header that does not fit is an error, by -Werror, and not a slow build. By --config=opt
# it is a warning, and with TSan, which has no warnings, nothing tells of it.
def _include(name):
    return ["-Winvalid-pch", "-include", "$(BINDIR)/third_party/precompiled/%s.h" % name]

def _unless_default(values):
    return select({
        "//third_party/precompiled:asan": values,
        "//third_party/precompiled:opt": values,
        "//third_party/precompiled:tsan": values,
        "//conditions:default": [],
    })

def cc_library(deps = [], **kwargs):
    # Headers fit only what is compiled with the same options.
    if "copts" in kwargs:
        native.cc_library(deps = deps, **kwargs)
        return
    package = native.package_name()
    is_slow = package.split("/")[0] in _SLOW_PACKAGES
    headers = "unoptimized" if is_slow else "libraries"
    native.cc_library(
        copts = (ASAN_UNOPTIMIZED if is_slow else []) +
                (_UNHURRIED if package in _UNHURRIED_PACKAGES else []) +
                _unless_default(_include(headers)),
        deps = deps + _unless_default(["//third_party/precompiled:" + headers]),
        **kwargs
    )

def cc_test_library(deps = [], **kwargs):
    native.cc_library(
        copts = TEST_COPTS + _include("tests"),
        deps = deps + ["//third_party/precompiled:tests"],
        **kwargs
    )

def cc_test(deps = [], **kwargs):
    native.cc_test(
        copts = TEST_COPTS + _include("tests"),
        deps = deps + ["//third_party/precompiled:tests"],
        **kwargs
    )

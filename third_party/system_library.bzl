"""Wraps Debian's shared libraries in repositories named like their upstreams.

Linker flags come from pkg-config, because the set of libraries behind one name
(Abseil's above all) differs between Debian releases.
"""

def _unique_libraries(flags):
    # pkg-config repeats itself. Keeping the last of each -l keeps a valid
    # order; its -Wl, tokens are about --as-needed, which we pass anyway.
    seen = {}
    for flag in reversed(flags.split(" ")):
        if flag[:2] in ["-l", "-L"]:
            seen[flag] = None
    return list(reversed(seen.keys()))

def _link_flags(ctx):
    # No --cflags: the headers are in /usr/include.
    if not ctx.attr.modules:
        return []
    command = ["pkg-config", "--libs"] + ctx.attr.modules
    result = ctx.execute(command)
    if result.return_code != 0:
        fail("%s failed; install %s:\n%s" % (
            " ".join(command),
            ctx.attr.debian_package,
            result.stderr,
        ))
    libraries = _unique_libraries(result.stdout.strip())

    # Bazel links with -no-as-needed; without this every binary would load
    # every library that pkg-config mentions.
    return ["-Wl,--push-state,--as-needed"] + libraries + ["-Wl,--pop-state"]

_LIBRARY = """
cc_library(
    name = {name},
    linkopts = {linkopts},
    deps = {deps},
)
"""

def _library(name, linkopts, deps):
    return _LIBRARY.format(
        name = repr(name),
        linkopts = repr(linkopts),
        deps = repr(deps),
    )

def _system_library_impl(ctx):
    build = {"": _library("system", _link_flags(ctx), [])}
    if ctx.attr.extra_build_file:
        build[""] += ctx.read(ctx.attr.extra_build_file)
    for target, linkopts in ctx.attr.targets.items():
        package, name = target.split(":")
        build[package] = (build.get(package, "") +
                          _library(name, linkopts, ["//:system"] + ctx.attr.deps))
    for package, text in build.items():
        ctx.file(
            package + "/BUILD.bazel" if package else "BUILD.bazel",
            "package(default_visibility = [\"//visibility:public\"])\n" + text,
            executable = False,
        )
    for path, target in ctx.attr.files.items():
        ctx.symlink(Label(target) if target.startswith("@") else target, path)

system_library = repository_rule(
    implementation = _system_library_impl,
    doc = "Header-less cc_library targets that link a system library.",
    # Asked again at each start of Bazel, so that an upgrade of the system
    # is noticed. It costs milliseconds.
    local = True,
    attrs = {
        "debian_package": attr.string(
            mandatory = True,
            doc = "What to install if it is missing.",
        ),
        "deps": attr.string_list(doc = "Added to every target."),
        "extra_build_file": attr.label(doc = "Appended to the root BUILD file."),
        "files": attr.string_dict(
            doc = "Path in the repository to system path or label.",
        ),
        "modules": attr.string_list(
            mandatory = True,
            doc = "pkg-config modules behind all targets. None: the targets " +
                  "have all that is linked.",
        ),
        "targets": attr.string_list_dict(
            mandatory = True,
            doc = "\"package:name\" to linker flags beyond those of `modules`.",
        ),
    },
)

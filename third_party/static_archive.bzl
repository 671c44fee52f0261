"""One static library of all that cc_library targets need of this repository.

Bazel makes a library of each target, which is no use outside of Bazel. Debian's
libraries are not part of it: whoever links it links them, too.
"""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _objects(deps):
    found = []
    for dep in deps:
        for input in dep[CcInfo].linking_context.linker_inputs.to_list():
            for library in input.libraries:
                found.extend(library.objects or library.pic_objects or [])
    return depset(found).to_list()

def _static_archive_impl(ctx):
    archive = ctx.actions.declare_file(ctx.label.name + ".a")
    objects = _objects(ctx.attr.deps)
    arguments = ctx.actions.args()

    # q: objects of different folders may have one name. D: no times, no owners.
    arguments.add("qcsD")
    arguments.add(archive)
    arguments.add_all(objects)
    ctx.actions.run(
        executable = find_cpp_toolchain(ctx).ar_executable,
        arguments = [arguments],
        inputs = objects,
        outputs = [archive],
        mnemonic = "StaticArchive",
    )
    return [DefaultInfo(files = depset([archive]))]

static_archive = rule(
    implementation = _static_archive_impl,
    attrs = {
        "deps": attr.label_list(mandatory = True, providers = [CcInfo]),
        "_cc_toolchain": attr.label(
            default = "@bazel_tools//tools/cpp:current_cc_toolchain",
        ),
    },
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

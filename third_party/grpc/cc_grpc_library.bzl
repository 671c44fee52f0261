"""cc_grpc_library with upstream's signature, over the system's gRPC plugin."""

load("@rules_cc//cc:defs.bzl", "cc_library")

def _import_path(proto, root):
    # Sources that need no virtual import root live under "." or external/x.
    prefix = root + "/"
    return proto.path[len(prefix):] if proto.path.startswith(prefix) else proto.path

def _declare(ctx, imports, suffix):
    return [
        ctx.actions.declare_file(
            "%s/%s%s" % (ctx.label.name, path[:-len(".proto")], suffix),
        )
        for path in imports
    ]

def _grpc_codegen_impl(ctx):
    info = ctx.attr.proto[ProtoInfo]
    imports = [
        _import_path(src, info.proto_source_root)
        for src in info.direct_sources
    ]
    hdrs = _declare(ctx, imports, ".grpc.pb.h")
    srcs = _declare(ctx, imports, ".grpc.pb.cc")
    if ctx.attr.generate_mocks:
        hdrs += _declare(ctx, imports, "_mock.grpc.pb.h")

    out = "/".join([part for part in [
        ctx.bin_dir.path,
        ctx.label.workspace_root,
        ctx.label.package,
        ctx.label.name,
    ] if part])
    args = ctx.actions.args()
    args.add("--plugin=protoc-gen-grpc=" + ctx.executable._plugin.path)
    args.add("--grpc_out=%s%s" % (
        "generate_mock_code=true:" if ctx.attr.generate_mocks else "",
        out,
    ))
    args.add_all(info.transitive_proto_path, format_each = "--proto_path=%s")
    args.add_all(imports)
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [args],
        inputs = info.transitive_sources,
        tools = [ctx.executable._plugin],
        outputs = hdrs + srcs,
        mnemonic = "GrpcCodegen",
        progress_message = "Generating gRPC stubs for %s" % ctx.attr.proto.label,
    )
    return [
        DefaultInfo(files = depset(hdrs + srcs)),
        OutputGroupInfo(hdrs = depset(hdrs), srcs = depset(srcs)),
    ]

_grpc_codegen = rule(
    implementation = _grpc_codegen_impl,
    attrs = {
        "generate_mocks": attr.bool(),
        "proto": attr.label(mandatory = True, providers = [ProtoInfo]),
        "_plugin": attr.label(
            default = "//src/compiler:grpc_cpp_plugin",
            allow_single_file = True,
            executable = True,
            cfg = "host",
        ),
        "_protoc": attr.label(
            default = "@com_google_protobuf//:protoc",
            allow_single_file = True,
            executable = True,
            cfg = "host",
        ),
    },
)

def cc_grpc_library(
        name,
        srcs,
        deps,
        grpc_only = False,
        generate_mocks = False,
        **kwargs):
    """Generates and compiles the gRPC classes of one proto_library.

    Args:
      name: the cc_library to make.
      srcs: exactly one proto_library.
      deps: its cc_proto_library.
      grpc_only: must be True; upstream's other mode is deprecated.
      generate_mocks: also generates x_mock.grpc.pb.h, which needs gmock.
      **kwargs: passed on, e.g. visibility.
    """
    if len(srcs) != 1 or not grpc_only:
        fail("cc_grpc_library needs one proto_library in srcs and grpc_only = True")
    codegen = "_" + name + "_grpc_codegen"
    _grpc_codegen(
        name = codegen,
        proto = srcs[0],
        generate_mocks = generate_mocks,
        **kwargs
    )
    for group in ["hdrs", "srcs"]:
        native.filegroup(
            name = codegen + "_" + group,
            srcs = [codegen],
            output_group = group,
            **kwargs
        )
    cc_library(
        name = name,
        srcs = [codegen + "_srcs"],
        hdrs = [codegen + "_hdrs"],
        includes = [codegen],
        deps = deps + ["@com_github_grpc_grpc//:grpc++_codegen_proto"],
        **kwargs
    )

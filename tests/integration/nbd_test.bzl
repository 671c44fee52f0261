"""The tests of the NBD bridges, each of them over both."""

_WAYS = {
    "inprocess": [],
    "bridge": ["//nbd_bridge:ramvol-nbd"],
}

def nbd_test(name, src, args = [], data = [], tags = [], size = "large", ways = _WAYS.keys()):
    """Runs a script over each of the ways; nbd_common.sh says with which arguments.

    Args:
      name: NAME_inprocess and NAME_bridge are the tests, NAME the suite of both.
      src: the script.
      args: more arguments.
      data: what else it needs.
      tags: more tags.
      size: of each test.
      ways: some of the ways.
    """
    for way in ways:
        bridges = _WAYS[way]
        native.sh_test(
            name = "%s_%s" % (name, way),
            size = size,
            srcs = [src],
            args = [
                way,
                "$(rootpath //server:ramvold)",
                "$(rootpath //client/cli:ramvol)",
            ] + ["$(rootpath %s)" % bridge for bridge in bridges or ["//server:ramvold"]] + args,
            data = [
                "nbd_common.sh",
                "//client/cli:ramvol",
                "//server:ramvold",
            ] + bridges + data,
            tags = ["no-tsan"] + tags,
        )
    native.test_suite(
        name = name,
        tests = ["%s_%s" % (name, way) for way in ways],
    )

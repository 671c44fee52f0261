"""Abseil's public targets that exist both in 20220623 and in 20240722."""

_TARGETS = {
    "algorithm": ["algorithm", "container"],
    "base": [
        "base",
        "config",
        "core_headers",
        "dynamic_annotations",
        "endian",
        "log_severity",
    ],
    "cleanup": ["cleanup"],
    "container": [
        "btree",
        "fixed_array",
        "flat_hash_map",
        "flat_hash_set",
        "inlined_vector",
        "node_hash_map",
        "node_hash_set",
    ],
    "debugging": [
        "failure_signal_handler",
        "leak_check",
        "stacktrace",
        "symbolize",
    ],
    "flags": [
        "commandlineflag",
        "config",
        "flag",
        "marshalling",
        "parse",
        "reflection",
        "usage",
    ],
    "functional": ["any_invocable", "bind_front", "function_ref"],
    "hash": ["hash"],
    "memory": ["memory"],
    "meta": ["type_traits"],
    "numeric": ["bits", "int128"],
    "random": ["bit_gen_ref", "distributions", "random", "seed_sequences"],
    "status": ["status", "statusor"],
    "strings": ["cord", "str_format", "strings"],
    "synchronization": ["synchronization"],
    "time": ["time"],
    "types": ["any", "compare", "optional", "span", "variant"],
    "utility": ["utility"],
}

ABSL_TARGETS = {
    "absl/%s:%s" % (package, name): []
    for package, names in _TARGETS.items()
    for name in names
}

# The modules that bring in all libraries behind these targets.
ABSL_MODULES = [
    "absl_any",
    "absl_any_invocable",
    "absl_btree",
    "absl_cord",
    "absl_failure_signal_handler",
    "absl_flags",
    "absl_flags_parse",
    "absl_flags_usage",
    "absl_flat_hash_map",
    "absl_hash",
    "absl_int128",
    "absl_leak_check",
    "absl_log_severity",
    "absl_optional",
    "absl_random_bit_gen_ref",
    "absl_random_random",
    "absl_stacktrace",
    "absl_statusor",
    "absl_str_format",
    "absl_symbolize",
    "absl_synchronization",
    "absl_time",
    "absl_variant",
]
